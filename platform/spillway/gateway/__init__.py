"""The HTTP side: OpenAI's API and Spillway's own in front of a pool of engines.

A request passes through these files in this order::

    app          routes and what stands before them
    exchange     one request from its first byte to its one outcome
    body         the bytes, within bounds; then `schema`, strictly
    endpoints/   what an endpoint makes of its request: prompts, parameters, the form of its answer
    tokens       prompts to token ids, in a thread if they are long
    answering    tickets are read, and the answer is written
    choices      tokens to text, one choice each: detokenizer, stop strings, log-probabilities
    stream       server-sent events, keep-alives, slow readers
    problems     every other end: status, headers and body of an error
"""
