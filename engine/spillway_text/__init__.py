"""The text side of a model, without the model: folders, tokenizer, chat template, detokenizer, stop strings.

Whoever turns text into tokens and back needs neither torch nor an engine; gateways are such.
"""
