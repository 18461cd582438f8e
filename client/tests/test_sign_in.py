"""Signing in, staying signed in, and never asking where nobody is."""

import getpass
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from conftest import FRAMES, password_of
from servers import Answer, Asked, passing_on, plain, problem, serving

import dbservice
from dbservice import auth, wire
from dbservice.runs import Database


@pytest.fixture
def tokens(home: Path) -> Callable[[], str]:
    path = home / "config" / "dbservice" / "tokens.json"
    return path.read_text


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has: the tests do not write into somebody's keyring."""
    monkeypatch.setitem(sys.modules, "keyring", None)


def _signed_in(site: str, name: str = "alice") -> Database:
    db = dbservice.connect(site)
    db.login(name, password_of(name))
    return db


def test_a_session_outlives_the_program(site: str) -> None:
    _signed_in(site).close()
    again = dbservice.connect()  # where somebody signed in last
    assert again.whoami()["user"]["username"] == "alice"
    assert FRAMES in again


def test_only_the_owner_can_read_the_tokens(site: str, home: Path) -> None:
    _signed_in(site)
    folder = home / "config" / "dbservice"
    assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_access_token_is_in_memory_only(site: str, tokens: Callable[[], str]) -> None:
    db = _signed_in(site)
    access = db._session.auth.token()
    assert access
    assert access not in tokens()
    for text in (repr(db), repr(db._session), repr(db._session.auth), repr(db._session.options)):
        assert access not in text


def test_logout_ends_the_session_here_and_there(site: str, tokens: Callable[[], str]) -> None:
    db = _signed_in(site)
    refresh = json.loads(tokens())["servers"][site]["tokens"]["alice"]
    db.logout()
    assert refresh not in tokens()
    answer = wire.Request("POST", "auth/token/refresh/", body={"refresh": refresh})
    assert db._session._blocking.send(wire.Send(answer, None)).status == 401
    with pytest.raises(dbservice.SignInNeeded):
        db.count()


def test_on_a_shared_machine_nothing_is_kept(site: str, home: Path) -> None:
    db = dbservice.connect(site)
    db.login("bob", password_of("bob"), remember=False)
    assert db.whoami()["user"]["username"] == "bob"
    db._session.auth._access = None  # as if it had expired
    assert db.whoami()["user"]["username"] == "bob"
    assert not (home / "config" / "dbservice" / "tokens.json").exists()


def test_a_home_that_cannot_be_written_to_is_no_reason_to_fail(
    site: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file"))
    db = dbservice.connect(site)
    with pytest.warns(dbservice.BrokerWarning, match="until this program ends"):
        db.login("bob", password_of("bob"))
    db._session.auth._access = None
    assert db.whoami()["user"]["username"] == "bob"
    db.logout()


def test_two_people_at_one_server(site: str) -> None:
    _signed_in(site, "bob")
    _signed_in(site, "alice")
    assert dbservice.connect(site, user="bob").whoami()["user"]["username"] == "bob"
    assert dbservice.connect(site).whoami()["user"]["username"] == "alice"
    dbservice.connect(site, user="bob").logout()
    assert dbservice.connect(site).whoami()["user"]["username"] == "alice"


def test_a_wrong_password_is_told(site: str) -> None:
    with pytest.raises(dbservice.SignInNeeded, match="user name and password"):
        dbservice.connect(site).login("alice", "wrong")


def test_an_expired_access_token_is_renewed_in_passing(site: str) -> None:
    db = _signed_in(site)
    db._session.auth._access = "not.a.token"
    assert db.whoami()["user"]["username"] == "alice"


JOB = """
import sys, dbservice
db = dbservice.connect(sys.argv[1])
for _ in range(4):
    db._session.auth._access = None
    assert db.whoami()["user"]["username"] == "alice"
"""


def test_many_processes_renew_one_session(site: str) -> None:
    """A refresh token works once: without the lock all but one would be signed out (case 19)."""
    _signed_in(site)
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, site]) for _ in range(4)]
    assert [job.wait(120) for job in jobs] == [0, 0, 0, 0]
    assert dbservice.connect(site).whoami()["user"]["username"] == "alice"


def test_many_threads_renew_once(site: str) -> None:
    db = _signed_in(site)
    db._session.auth._access = None
    names: list[str] = []

    def ask() -> None:
        names.append(db.whoami()["user"]["username"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["alice"] * 8


def test_a_job_without_a_token_fails_and_says_what_to_set(site: str) -> None:
    script = f"import dbservice; dbservice.connect({site!r})[-1]"
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert b"$DBSERVICE_TOKEN" in done.stderr
    assert done.stdout == b""


def test_a_job_takes_its_token_from_the_environment(
    site: str, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = alice._session.do(dbservice.reading.api_token("job", ["read:metadata"], 900))
    monkeypatch.setenv("DBSERVICE_TOKEN", token)
    monkeypatch.setenv("DBSERVICE_URL", site)
    db = dbservice.connect()
    assert db.whoami()["token"]["name"] == "job"
    with pytest.raises(dbservice.BrokerError, match="read:data"):
        db[FRAMES].table()
    assert token not in repr(db._session.auth)


def test_a_token_that_is_not_valid_is_told_at_once(site: str) -> None:
    with pytest.raises(dbservice.SignInNeeded, match="is not valid"):
        dbservice.connect(site, token="dbk_nosuch_token").count()


def test_a_person_is_asked_once(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answering(text: str) -> Callable[[str], str]:
        def answer(prompt: str) -> str:
            asked.append(prompt)
            return text

        return answer

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(auth, "input", answering("alice"), raising=False)
    monkeypatch.setattr(getpass, "getpass", answering(password_of("alice")))
    db = dbservice.connect(site)
    assert FRAMES in db
    assert len(db) > 0
    assert [text.partition(" ")[0] for text in asked] == ["User", "Password"]


def test_a_notebook_that_a_program_runs_is_not_asked(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)

    def nobody(prompt: str) -> str:
        raise NotImplementedError  # as ipykernel's input does there

    monkeypatch.setattr(auth, "input", nobody, raising=False)
    with pytest.raises(dbservice.SignInNeeded, match=r"\$DBSERVICE_TOKEN"):
        dbservice.connect(site).count()


class FakeKeyring(types.ModuleType):
    """As the library `keyring` is used; the real one would ask the desktop."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.priority = 5.0

    def get_keyring(self) -> "FakeKeyring":
        return self

    def get_password(self, service: str, user: str) -> "str | None":
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, password: str) -> None:
        self.kept[service, user] = password

    def delete_password(self, service: str, user: str) -> None:
        del self.kept[service, user]


def test_a_keyring_is_preferred_to_the_file(
    site: str, monkeypatch: pytest.MonkeyPatch, tokens: Callable[[], str]
) -> None:
    keyring = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    db = _signed_in(site)
    (kept,) = keyring.kept.values()
    assert kept not in tokens()
    assert dbservice.connect(site).whoami()["user"]["username"] == "alice"
    db.logout()
    assert keyring.kept == {}


def test_a_keyring_that_holds_nothing_is_as_none(
    site: str, monkeypatch: pytest.MonkeyPatch, tokens: Callable[[], str]
) -> None:
    keyring = FakeKeyring()
    keyring.priority = 0
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    _signed_in(site)
    assert json.loads(tokens())["servers"][site]["tokens"]["alice"]


def _device(answers: list[Answer]) -> Callable[[Asked], Answer]:
    begun = {
        "device_code": "d-1",
        "user_code": "BCDF-GHJK",
        "verification_uri": "https://b.example.org/device/",
        "verification_uri_complete": "https://b.example.org/device/?user_code=BCDF-GHJK",
        "expires_in": 600,
        "interval": 5,
    }

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("auth/device/"):
            return plain(begun)
        if asked.path.endswith("auth/device/token/"):
            assert json.loads(asked.body) == {"device_code": "d-1"}
            return answers.pop(0)
        return plain({"user": {"username": "alice"}, "count": 3})

    return answer


def _waiting(error: str) -> Answer:
    return problem(400, "", error=error, error_description=f"It is {error}.")


def test_signing_in_by_a_code_in_the_browser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dbservice.auth.time.sleep", waits.append)
    done = plain({"access": "a", "refresh": "r", "expires_in": 900})
    answers = [_waiting("authorization_pending"), _waiting("slow_down"), done]
    with serving(_device(answers)) as server:
        db = dbservice.connect(server.url)
        db.login(device=True)
        assert db._session.auth.user == "alice"
    assert waits == [5, 5, 10]
    shown = capsys.readouterr()
    assert "BCDF-GHJK" in shown.err
    assert shown.out == ""


def test_a_code_that_is_denied_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbservice.auth.time.sleep", lambda seconds: None)
    with (
        serving(_device([_waiting("access_denied")])) as server,
        pytest.raises(dbservice.SignInNeeded, match="It is access_denied"),
    ):
        dbservice.connect(server.url).login(device=True)


def test_the_real_service_begins_a_sign_in_by_code(
    site: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def confirmed_by_nobody(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dbservice.auth.time.sleep", confirmed_by_nobody)
    with pytest.raises(KeyboardInterrupt):
        dbservice.connect(site).login(device=True)
    assert f"Open {site}/device/" in capsys.readouterr().err


def _confirm(site: str, code: str, person: str) -> None:
    """As a person does it in the browser."""
    with httpx.Client(base_url=site, follow_redirects=True, headers={"Referer": site}) as browser:
        names = {"login": person, "username": person, "password": password_of(person)}
        page = browser.get(f"/login/?next=/device/?user_code={code}")
        page = browser.post("/login/", data=names | _hidden(page.text))
        page = browser.get("/device/", params={"user_code": code})
        answer = {"answer": "confirm", "user_code": code}
        browser.post("/device/", data=answer | _hidden(page.text)).raise_for_status()


def _hidden(page: str) -> dict[str, str]:
    return {"csrfmiddlewaretoken": page.split('csrfmiddlewaretoken" value="')[1].split('"')[0]}


def test_a_person_confirms_the_code_at_the_real_service(
    site: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def confirming(seconds: float) -> None:
        code = capsys.readouterr().err.strip().rpartition(" ")[2]
        if code:
            _confirm(site, code, "bob")

    monkeypatch.setattr("dbservice.auth.time.sleep", confirming)
    db = dbservice.connect(site)
    db.login(device=True)
    assert db.whoami()["user"]["username"] == "bob"
    assert dbservice.connect().whoami()["user"]["username"] == "bob"


def test_a_second_factor_leads_to_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbservice.auth.time.sleep", lambda seconds: None)
    by_code = _device([plain({"access": "a", "refresh": "r", "expires_in": 900})])

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("auth/token/"):
            return problem(401, "This account uses the device sign-in, auth/device/.")
        return by_code(asked)

    with serving(answer) as server:
        db = dbservice.connect(server.url)
        db.login("alice", "secret")
        assert db.count() == 3


def test_a_lost_connection_does_not_sign_out(site: str) -> None:
    _signed_in(site)

    def change(asked: Asked, given: Answer) -> Answer:
        return given

    with serving(passing_on(site, change)) as between:
        pass
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "dbservice" / "tokens.json"
    content = json.loads(config.read_text())
    content["servers"][between.url] = content["servers"][site]
    config.write_text(json.dumps(content))
    with pytest.raises(dbservice.ConnectionLost):
        dbservice.connect(between.url).count()
    assert json.loads(config.read_text()) == content


def test_addresses_in_all_their_forms() -> None:
    from dbservice.session import server_of

    for url in (
        "https://b.org/x/",
        "https://b.org/x/api/v1/headers/",
        "b.org/x",
        "https://u:p@b.org/x",
    ):
        assert server_of(url) == "https://b.org/x"
    for wrong in ("ftp://b.org", "https://"):
        with pytest.raises(ValueError, match="no address"):
            server_of(wrong)
    with pytest.raises(ValueError, match="DBSERVICE_URL"):
        dbservice.connect()


def test_tiled_gets_the_same_user(
    site: str, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is replaced; the token that it is given is tried at the service."""
    opened: list[tuple[str, str]] = []
    module = types.ModuleType("tiled.client")
    module.from_uri = lambda uri, api_key: opened.append((uri, api_key))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiled", types.ModuleType("tiled"))
    monkeypatch.setitem(sys.modules, "tiled.client", module)
    alice.tiled()
    ((uri, key),) = opened
    assert uri == f"{site}/api/v1"
    who = dbservice.connect(site, token=key).whoami()
    assert who["user"]["username"] == "alice"
    dbservice.connect(site, token=key).tiled()
    assert opened[1][1] == key
