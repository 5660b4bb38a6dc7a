"""Where a request's time went: a timeline that tiles the whole, as spans, built when the request has ended.

::

    gateway's loop                                 telemetry thread
    recorder: facts, a few stamps ──── ended ────▶ sampling ▶ timeline ▶ spans ─┬▶ trace_store
    steps: engines' frames, counted                                             └▶ export, if there is a collector
"""
