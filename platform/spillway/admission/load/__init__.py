"""What the engines can take: their pace, an adaptive limit on what is in flight, predicted time to first token."""
