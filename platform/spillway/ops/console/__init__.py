"""The live console: one page at `/console`, told what happens by one computation a second, and none when nobody looks.

====================  ==============================================================================================
`facts`               what a page is told, as structs
`counts`              what was counted until now, drawn from the pages of series and the supervisor's status
`quantile`            percentiles of a histogram, and how exact they are
`window`              the counts of the last minute, to compare with
`snapshot`            counts of now and of before → what a page shows; pure
`timeline`            what happened: deaths, returns, orders, faults, phases
`sampling`            one look at everything that is known and counted
`feed`                the one computation a second, and the consoles that follow it
`stream`              a console's connection: server-sent events that wait for their reader
`requests`            slow and failed requests, and one request's waterfall, from the trace store
`prompt`              a prompt on its way to a gateway, and the answer's way back
`assets`              the page's files, and the headers that guard them
`console`             all of these put together
`routes`              what a browser asks
`page/`               the page: plain ES modules, no build step
====================  ==============================================================================================
"""
