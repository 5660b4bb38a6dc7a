"""Models through transformers: any decoder whose attention goes through its attention interface, paged."""
