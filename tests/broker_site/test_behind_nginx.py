"""Two instances behind nginx with deploy/nginx.conf."""

import time
from contextlib import ExitStack
from pathlib import Path

from tests.behind_nginx import nginx
from tests.documents import Recorder
from tests.load import SIGN_IN, Load
from tests.running import Installation

STALL_SECONDS = 10.0
"""far more than any request needs, and less than a client that waits for an instance would"""


def test_instances_restarted_in_turn_fail_and_stall_no_request(
    recorder: Recorder, tmp_path: Path
) -> None:
    uid = recorder.run("312000")
    installation = Installation.make(tmp_path, BROKER_NUM_PROXIES="1", BROKER_WORKERS="1")
    with ExitStack() as stack:
        instances = [stack.enter_context(installation.instance()) for _ in range(2)]
        port = stack.enter_context(nginx(tmp_path, [instance.port for instance in instances]))
        paths = (f"/api/v1/headers/{uid}/", "/api/v1/headers/", SIGN_IN)
        with Load(port, paths) as load:
            time.sleep(1)
            for instance in instances:
                instance.restart()
                time.sleep(1)
    assert load.statuses.total() > 50
    assert set(load.statuses) == {200}
    assert load.longest < STALL_SECONDS
