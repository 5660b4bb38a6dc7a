"""Gauges that gateways give with their beats, beside those of the catalogue: what each says of the gateway's inside.

Ops exposes each as `spillway_gateway_` and its name; `_s` at its end becomes `_seconds`. They are there to find a fault
with. What boards and alerts stand on has a name of its own in `names` and `status_names`.
"""

from collections.abc import Mapping
from typing import Final

from spillway_wire.metric import Metric, gauge
from spillway_wire.status_names import GATEWAY_FACT, GATEWAY_FACT_HELP

_OF_BANDS: Final = {
    "prediction_factor": "By what predicted first tokens of the {band} band are multiplied.",
    "prediction_mean_ratio": "The middle of actual to predicted first tokens of the {band} band.",
    "prediction_error": "How far actual to predicted lies from its middle in the {band} band; 0.1 is a tenth.",
    "prediction_trusted": "1 while predictions of the {band} band decide; 0 while they scatter too widely.",
}
_BANDS: Final = ("system", "interactive", "default", "bulk")

OF_GATEWAYS: Final[Mapping[str, str]] = {
    "queued_requests": "Requests in the queue.",
    "journal_entries": "Requests that are queued, running or recovering.",
    "accept_queue": "Connections that the kernel holds until a gateway takes them.",
    "claims_open": "Requests that admission has let in and that have not ended.",
    "tenants_version": "Version of the tenants that the gateway knows: the same in all gateways within a second.",
    "tenants_known": "Tenants that the gateway knows.",
    "tenants_store_away": "1 while the tenants' database cannot be read.",
    "tenants_mirror_away": "1 while the tenants' copy in Redis cannot be read.",
    "jwks_keys": "Public keys of the tokens' issuer that the gateway knows.",
    "jwks_away": "1 while the issuer's keys cannot be read.",
    "usage_pending": "Rows of usage that wait to be written.",
    "usage_away": "1 while usage cannot be written.",
    "ledger_local": "1 while quotas are decided by the gateway itself.",
    "ledger_away_s": "For how long Redis has been away; 0 while it is there.",
    "ledger_share": "The gateway's share of each limit while Redis is away.",
    "ledger_open": "Claims on quotas that are open.",
    "ledger_settles_waiting": "Settlements that Redis has still to be told.",
    "ledger_settles_dropped": "Settlements that were given up, since the gateway began.",
    "ledger_gateways": "Gateways that share the quotas.",
    "ledger_lost": "Claims that Redis had lost, since the gateway began.",
    "ledger_reaped": "Claims of dead gateways that this one gave back.",
    "ledger_acquire_p50_s": "How long quotas took to be had lately: half of them less.",
    "ledger_acquire_p99_s": "How long quotas took to be had lately: 99 % of them less.",
    "ledger_shared_grants": "Claims that Redis granted, since the gateway began.",
    "ledger_shared_denials": "Claims that Redis denied, since the gateway began.",
    "ledger_local_grants": "Claims that the gateway granted by itself, since it began.",
    "ledger_local_denials": "Claims that the gateway denied by itself, since it began.",
    "ledger_failures": "Questions to Redis without an answer, since the gateway began.",
    "ledger_outages": "Times that Redis went away, since the gateway began.",
    "traces_kept": "Traces that were kept, since the process began.",
    "traces_left_out": "Traces that sampling left out, since the process began.",
    "traces_dropped": "Traces for which there was no room, since the process began.",
    "traces_failed": "Traces that could not be put together, since the process began.",
    "traces_stored": "Traces that were written to the trace store, since the process began.",
    "traces_store_lost": "Traces that the trace store did not take, since the process began.",
    "spans_exported": "Spans that the collector took, since the process began.",
    "spans_export_failed": "Spans that the collector refused, since the process began.",
    "spans_dropped": "Spans for which there was no room, since the process began.",
    "spans_waiting": "Spans that wait for the collector.",
}
"""By their names in a beat."""
OF_MODELS: Final[Mapping[str, str]] = {
    "asked": "Requests that admission was asked about, since the gateway began.",
    "admitted": "Requests that it let in.",
    "refused": "Requests that it refused.",
    "left_undecided": "Requests that left before it had decided.",
    "open": "Requests that it let in and that have not ended.",
    "pressure": "Predicted first token as a part of what is promised.",
    "brownout_level": "Steps of the brownout ladder that are in force.",
    "shedding_threshold": "The least important level that is let in; 511: everybody.",
    "retry_budget": "Retries out of turn that are still borne.",
    "returns_expected": "Refused requests that were told to come back and are still awaited.",
    "returns_claimed_share": "Share of those told to come back that did.",
    **{f"{name}_{band}": text.format(band=band) for band in _BANDS for name, text in _OF_BANDS.items()},
}
"""The same, of one model each: its name follows behind a dot."""
OF_ENGINES: Final[Mapping[str, str]] = {
    "engine_limit": "Sequences that the engine may hold, by its step time and what tiers ask for.",
    "step_fixed_s": "What a step of the engine takes at the least, as measured.",
    "step_per_row_s": "What each sequence adds to a step, as measured.",
    "step_per_token_s": "What each prompt token adds to a step, as measured.",
}
"""The same, of one engine each, as this gateway sees it."""
_ALL: Final = (("", OF_GATEWAYS), ("model", OF_MODELS), ("engine", OF_ENGINES))


def fact_metric(name: str, *, has_more: bool) -> Metric:
    """Return the gauge of a fact. `has_more`: a model or an engine stands behind its dot."""
    full = GATEWAY_FACT + (f"{name.removesuffix('_s')}_seconds" if name.endswith("_s") else name)
    for label, facts in _ALL:
        if name in facts and bool(label) == has_more:
            return gauge(full, facts[name], "gateway", *([label] if label else []))
    return gauge(full, GATEWAY_FACT_HELP, "gateway", *(["model"] if has_more else []))


FACT_METRICS: Final = tuple(fact_metric(name, has_more=bool(label)) for label, facts in _ALL for name in facts)
"""All that are known. Gateways may give others, too: these then say nothing of themselves."""
