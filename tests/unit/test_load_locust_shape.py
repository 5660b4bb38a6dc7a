"""A campaign's shape as Locust follows it, in a process of its own: what imports Locust is monkey-patched for good."""

import json
import os
import subprocess
import sys
from typing import Any

FOLLOWED = """
import json, sys
from spillway_load import campaign as campaigns
from spillway_load.errors import CampaignError
from spillway_load.locust_shape import CampaignShape
said = {}
for name in ("steady", "ramp", "spike", "diurnal", "herd"):
    campaign = campaigns.load(name)
    try:
        shape = CampaignShape(campaign, 2.0)
    except CampaignError as error:
        said[name] = str(error)
        continue
    at = [share * campaign.duration_s for share in (0.0, 0.25, 0.45, 0.5, 0.75)]
    shape.start_time -= campaign.duration_s
    said[name] = [[shape.users_at(moment) for moment in at], campaign.arrivals.rate, shape.tick()]
    shape.reset_time()
    said[name].append(shape.tick() is not None)
print(json.dumps(said))
"""


def test_there_are_as_many_users_as_the_shape_needs() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", FOLLOWED], capture_output=True, text=True, env=environment, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    users, rate, over, has_begun = said["steady"]
    assert (set(users), over, has_begun) == ({rate / 2}, None, True)
    ramp = said["ramp"][0]
    assert ramp == sorted(ramp)
    assert ramp[0] < ramp[-1]
    spike = said["spike"][0]
    assert max(spike) == spike[2] >= 5 * spike[0]
    assert len(set(said["diurnal"][0])) > 2
    assert "spillway load herd" in said["herd"]
