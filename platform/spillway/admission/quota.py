"""A denied claim, said to its client: which limit, what was measured, and when coming back helps."""

from typing import Final

from spillway.admission.contract import Denial, LimitName
from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome

_CONCURRENT_S: Final = 1.0
"""Until one of many requests has probably ended; nobody knows exactly."""

_SAID: Final = {
    LimitName.REQUESTS: "too many requests: {account} may send {limit} a minute",
    LimitName.TOKENS: "too many tokens: {account} may use {limit} a minute, prompt and answer together",
    LimitName.CONCURRENT: "too many requests at a time: {account} may have {limit} under way",
    LimitName.DAY: "the day's budget of {account} is used up: {limit} tokens",
    LimitName.REQUEST_SIZE: "the request is likely to take {measured} tokens, more than {account} may use in a minute "
    "({limit}); shorten the prompt or lower max_tokens",
}


def refused(denial: Denial) -> Refused:
    """Return the refusal: 429 with an exact wait where waiting helps, else one that says that it does not."""
    message = _SAID[denial.name].format(account=denial.account, limit=denial.limit, measured=denial.measured)
    limit, measured = f"{denial.name.value}={denial.limit}", str(denial.measured)
    if denial.name is LimitName.REQUEST_SIZE:
        return Refused(Outcome.TOO_LARGE, message, limit=limit, measured=measured, code="request_too_large")
    if denial.name is LimitName.DAY:
        return Refused(
            Outcome.QUOTA, message, should_retry=False, limit=limit, measured=measured, code="insufficient_quota"
        )
    wait_s = _CONCURRENT_S if denial.wait_s is None else denial.wait_s
    return Refused(Outcome.QUOTA, message, retry_after_s=wait_s, limit=limit, measured=measured)
