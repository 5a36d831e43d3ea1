import sys
from tests.integration.test_recorder_faults import *
import tests.support.fleet as f
f.service_command = lambda p: [sys.executable, "/tmp/dumprec.py"]
for n in list(globals()):
    if n.startswith("test_") and "anew_under" not in n: del globals()[n]
_old = test_a_topic_that_is_anew_under_a_running_recorder_stops_it_and_skips_nothing
async def test_a_topic_that_is_anew_under_a_running_recorder_stops_it_and_skips_nothing(world, fleet):
    try: await _old(world, fleet)
    finally: print(fleet.processes["recorder"].log.read_text())
