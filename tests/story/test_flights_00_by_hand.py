"""The same script as a person runs it; test_flights_12_swapped.py sees how it ended."""

from __future__ import annotations

import json
import urllib.request


def test_a_server_started_by_hand_says_where_it_is(swapped_demo):
    with urllib.request.urlopen(f"{swapped_demo.address['url']}/api/v1/status") as response:
        found = json.load(response)
    assert found["serve_url"] == swapped_demo.address["serve_url"]
    assert swapped_demo.address["adopted"] is False
