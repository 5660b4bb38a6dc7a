"""Choosing the next token of each row of logits.

The rule, for one row of a sequence at output position i (so i tokens have been sampled before):

1. A row that holds NaN or +Inf, or nothing but -Inf, fails; so does one that step 2 leaves with nothing but -Inf.
2. logit_bias is added; while i < min_tokens, end-of-sequence and stop tokens become -Inf (`ignore_eos` or not);
   then come repetition, frequency and presence penalties (`penalties`).
3. temperature 0: the largest logit, the lowest id among equals. The rest applies to other temperatures.
4. Tokens are ordered by distance, nearest first, the lower id first among equals, and weighed (`weights`).
   - min_p keeps tokens no farther than -log(min_p), in float32;
   - top_k of them the first k, exactly: ties at the boundary go by id;
   - top_p of those the shortest prefix whose weight is at least top_p of the weight kept so far: at least one token.
5. Each token kept has Gumbel noise of its own (`noise`); the largest noise - distance wins, the lowest id among equals,
   computed in float64.

What a row becomes depends on its logits, the sequence's parameters and tokens, and i; not on other rows, slots or
threads. `reference` is the same rule in plain numpy, and what every implementation is compared with.
"""
