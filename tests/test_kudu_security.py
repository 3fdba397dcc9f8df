"""Kerberos, TLS and tokens against a real KDC and real Kudu servers that ask for them.

Every case is a process of its own: a process has one JVM, and the JVM one Kerberos configuration. JAVA_HOME chooses it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.clients.security import check_token, read_certificates
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import needs_kudu_servers, until

REALM = "TEST.INVALID"
SHORT_S = 16  # the life of a ticket of `short`

# Reads a word a line and answers with a line of JSON: what came of it, and what was logged meanwhile.
CLIENT = """
import json, logging, os, sys, time
import numpy as np, pyarrow as pa
from imagewarehouse.errors import WarehouseError
from imagewarehouse.kudu.clients import connecting, interface
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema

lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("imagewarehouse.kudu").addHandler(Keep())
settings, table, writer, key = json.loads(sys.argv[1]), sys.argv[2], None, 0
columns = KuduColumn("key", KuduType.INT32, key=True), KuduColumn("text", KuduType.STRING, nullable=True)

def do(word):
    global writer, key
    if word == "connect":
        writer = connecting.connect(interface.KuduSettings(**settings))
    elif word == "create":
        return writer.create(TableSchema(table, columns, (HashPartition(("key",), 2),), ()))
    elif word == "write":
        key += 1
        values = ColumnValues("key", pa.array([key], pa.int32())), ColumnValues("text", pa.array(["a"]))
        failed = writer.write(table, [RowBatch(np.full(1, Operation.INSERT, np.uint8), values)])
        if failed:
            key -= 1  # the same one again
            raise failed[0].error
    elif word == "count":
        return writer.count(table)
    elif word == "renew no more":
        writer._login.close()

for word in sys.stdin:
    start, answer = time.monotonic(), {}
    try:
        answer["value"] = do(word.strip())
    except WarehouseError as err:
        answer |= {"error": err.code, "text": str(err)}
    answer |= {"s": time.monotonic() - start, "log": lines[:]}
    lines.clear()
    print(json.dumps(answer), flush=True)
os._exit(0)
"""


class Client:
    """A process with a `KuduWriter`."""

    def __init__(self, realm: Realm, table: str, settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, json.dumps(dict(settings)), table],
            cwd=REPOSITORY,
            env={**os.environ, **realm.environ, "KRB5CCNAME": str(realm.folder / "none"), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def well(self, *words: str) -> Any:
        """The value of the last one; none of them may fail."""
        for word in words:
            answer = self.do(word)
            assert "error" not in answer, answer
        return answer["value"]

    def fails(self, *words: str) -> dict[str, Any]:
        """The answer to the last one, which has to fail; all before it may not."""
        for word in words[:-1]:
            self.well(word)
        answer = self.do(words[-1])
        assert "error" in answer, answer
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Realm:
    """A KDC on 127.0.0.1 with the users alice, bob, short and the service kudu/localhost; all files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]
        self.environ = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5CCNAME": str(folder / "tickets"),
        }
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "krb5.conf").write_text(
            textwrap.dedent(f"""\
            [libdefaults]
            default_realm = {REALM}
            dns_lookup_kdc = false
            rdns = false
            dns_canonicalize_hostname = false
            ignore_acceptor_hostname = true
            udp_preference_limit = 1
            [realms]
            {REALM} = {{
              kdc = 127.0.0.1:{self._port}
            }}
            """)
        )
        (folder / "kdc.conf").write_text(
            textwrap.dedent(f"""\
            [kdcdefaults]
            kdc_listen = ""
            kdc_tcp_listen = 127.0.0.1:{self._port}
            [realms]
            {REALM} = {{
              database_name = {folder}/principal
              key_stash_file = {folder}/stash
              supported_enctypes = aes256-cts:normal
            }}
            [logging]
            kdc = FILE:{folder}/kdc.log
            """)
        )
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "test")
        for name, more in (
            ("alice", ""), ("bob", ""), ("short", f"-maxlife {SHORT_S}s"), ("kudu/localhost", ""), ("kudu/127.0.0.1", ""),
        ):  # fmt: skip
            self.admin(f"addprinc -randkey {more} {name}")
            self.admin(f"ktadd -norandkey -k {self.keytab(name)} {name}")

    def admin(self, query: str) -> None:
        self._run("kadmin.local", "-r", REALM, "-q", query)

    def keytab(self, name: str) -> str:
        return str(self.folder / f"{name.partition('/')[0]}.keytab")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [_program("krb5kdc"), "-n", "-r", REALM],
            env={**os.environ, **self.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kinit(self, name: str, cache: Path) -> None:
        self._run("kinit", "-k", "-t", self.keytab(name), "-c", str(cache), name)

    def _answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self._port)) == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_program(program), *arguments],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
        )
        # kadmin.local ends with 0 whatever happens
        assert done.returncode == 0, done.stderr
        assert "while" not in done.stderr, done.stderr


def _program(name: str) -> str:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))) or name


_PACKAGES = {"krb5kdc": "krb5-kdc", "kadmin.local": "krb5-admin-server", "kinit": "krb5-user"}
_MISSING = ", ".join(package for program, package in _PACKAGES.items() if _program(program) == program)
needs_kdc = pytest.mark.skipif(bool(_MISSING), reason=f"no Kerberos here; install the Debian packages {_MISSING}")


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    needs_kudu_servers()
    running = Realm(tmp_path_factory.mktemp("realm"))
    running.start()
    yield running
    running.stop()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run([_program("openssl"), *arguments], input=given, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def signing_key(realm: Realm) -> Path:
    path = realm.folder / "jwt.pem"
    path.write_bytes(openssl("genrsa", "2048"))
    return path


def token(key: Path | None, user: str, seconds: float = 3600) -> str:
    header = {"alg": "RS256", "typ": "JWT", "kid": "one"}
    claims = {"iss": "test", "sub": user, "exp": int(time.time() + seconds)}
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return (
        signed
        + "."
        + b64(b"no" if key is None else openssl("dgst", "-sha256", "-sign", str(key), given=signed.encode()))
    )


@pytest.fixture(scope="module")
def secured(realm: Realm, signing_key: Path) -> Iterator[LocalKudu]:
    """Takes nobody without a ticket or a token, and nothing unencrypted. Connections and tokens of its own end soon, so
    that a client has to show its ticket again."""
    modulus = openssl("rsa", "-in", str(signing_key), "-noout", "-modulus").decode().strip().partition("=")[2]
    key = {"use": "sig", "kty": "RSA", "kid": "one", "alg": "RS256", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
    (realm.folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
    flags = {
        "rpc_authentication": "required",
        "rpc_encryption": "required",
        "rpc_encrypt_loopback_connections": "true",
        "keytab_file": realm.keytab("kudu"),
        "principal": f"kudu/localhost@{REALM}",
        "superuser_acl": "alice,kudu",
        "user_acl": "alice,short",
        "enable_jwt_token_auth": "true",
        "jwks_file_path": str(realm.folder / "jwks.json"),
        "authn_token_validity_seconds": "2",
        "undefok": "authn_token_validity_seconds",  # of the master alone
        "rpc_default_keepalive_time_ms": "1000",
    }
    realm.kinit("alice", Path(realm.environ["KRB5CCNAME"]))  # for Kudu's own tool
    with pytest.MonkeyPatch.context() as patch:
        for name, value in realm.environ.items():
            patch.setenv(name, value)
        with LocalKudu(realm.folder / "secured", never_fsync=True, flags=flags) as running:
            yield running


@pytest.fixture(scope="module")
def bare(realm: Realm) -> Iterator[LocalKudu]:
    """Neither authenticates nor encrypts."""
    flags = {"rpc_authentication": "disabled", "rpc_encryption": "disabled"}
    with LocalKudu(realm.folder / "bare", never_fsync=True, flags=flags) as running:
        yield running


@pytest.fixture(scope="module")
def certificates(realm: Realm, secured: LocalKudu) -> str:
    """What the certificates of the secured cluster are signed with, as its master shows it."""
    path = realm.folder / "ca.pem"
    with urllib.request.urlopen(f"{secured.web()}/ipki-ca-cert") as answer:  # noqa: S310
        path.write_bytes(answer.read())
    return str(path)


Open = Callable[..., Client]


@pytest.fixture
def client(realm: Realm, request: pytest.FixtureRequest) -> Iterator[Open]:
    opened = []

    def open_one(kudu: LocalKudu, *, environ: Mapping[str, str] | None = None, **settings: Any) -> Client:
        table = f"{request.node.name}_{len(opened)}"
        opened.append(Client(realm, table, {"masters": kudu.masters, **settings}, environ or {}))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def keytab(realm: Realm, name: str) -> dict[str, str]:
    return {"principal": f"{name}@{REALM}", "keytab": realm.keytab(name)}


# --- Kerberos ---------------------------------------------------------------------------------------------------------


@needs_kdc
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="as-the-cluster-wants-it"),
        pytest.param({"require_authentication": True, "encryption": "required"}, id="as-we-demand-it"),
        pytest.param({"principal": "alice"}, id="without-a-realm"),
    ],
)
def test_a_keytab_writes_rows(client: Open, realm: Realm, secured: LocalKudu, more: dict[str, Any]) -> None:
    one = client(secured, **{**keytab(realm, "alice"), **more})
    one.well("connect", "create", "write", "write")
    assert one.well("count") == 2


@needs_kdc
def test_a_ticket_cache_writes_rows(client: Open, realm: Realm, secured: LocalKudu, tmp_path: Path) -> None:
    realm.kinit("alice", tmp_path / "cache")
    one = client(secured, ticket_cache=str(tmp_path / "cache"))
    one.well("connect", "create", "write")
    assert one.well("count") == 1


@needs_kdc
def test_the_environments_ticket_is_used_where_nothing_is_set(
    client: Open, realm: Realm, secured: LocalKudu, tmp_path: Path
) -> None:
    realm.kinit("alice", tmp_path / "cache")
    one = client(secured, environ={"KRB5CCNAME": str(tmp_path / "cache")})
    one.well("connect", "create", "write")
    assert one.well("count") == 1


def damaged(folder: Path) -> str:
    (folder / "damaged").write_bytes(b"not a keytab")
    return str(folder / "damaged")


def old_key(realm: Realm, folder: Path) -> str:
    realm.admin("addprinc -randkey carol")
    realm.admin(f"ktadd -norandkey -k {folder}/old carol")
    realm.admin("cpw -randkey carol")
    return f"{folder}/old"


def unknown_user(realm: Realm, folder: Path) -> str:
    realm.admin("addprinc -randkey dave")
    realm.admin(f"ktadd -norandkey -k {folder}/dave dave")
    realm.admin("delprinc -force dave")
    return f"{folder}/dave"


@needs_kdc
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param(
            lambda realm, _: {"principal": f"bob@{REALM}", "keytab": realm.keytab("alice")},
            f"Kerberos Keytab: .*alice.keytab holds no key of bob@{REALM}$",
            id="keytab-of-someone-else",
        ),
        pytest.param(
            lambda _, folder: {"principal": f"alice@{REALM}", "keytab": str(folder / "none")},
            "Kerberos Keytab: .*none cannot be read: No such file or directory$",
            id="no-keytab",
        ),
        pytest.param(
            lambda _, folder: {"principal": f"alice@{REALM}", "keytab": damaged(folder)},
            "Kerberos Keytab: .*damaged holds no key of alice",
            id="no-keytab-but-another-file",
        ),
        pytest.param(
            lambda realm, folder: {"principal": f"carol@{REALM}", "keytab": old_key(realm, folder)},
            f"Kerberos Keytab: .*old holds an old or a wrong key of carol@{REALM}",
            id="keytab-from-before-the-key-was-changed",
        ),
        pytest.param(
            lambda realm, folder: {"principal": f"dave@{REALM}", "keytab": unknown_user(realm, folder)},
            f"Kerberos Principal: the KDC does not know dave@{REALM}",
            id="user-that-was-removed",
        ),
        pytest.param(
            lambda realm, _: {"principal": "alice@ELSEWHERE.INVALID", "keytab": realm.keytab("alice")},
            "Kerberos Keytab: .*alice.keytab holds no key of alice@ELSEWHERE.INVALID$",
            id="other-realm",
        ),
        pytest.param(
            lambda _, folder: {"ticket_cache": str(folder / "none")},
            "Kerberos Ticket Cache: .*none cannot be read",
            id="no-ticket-cache",
        ),
        pytest.param(
            lambda _, folder: {"ticket_cache": damaged(folder)},
            "Kerberos Ticket Cache: .*damaged holds no valid ticket",
            id="no-ticket-cache-but-another-file",
        ),
    ],
)
def test_a_login_that_cannot_work_names_its_property(
    client: Open,
    realm: Realm,
    secured: LocalKudu,
    tmp_path: Path,
    settings: Callable[[Realm, Path], dict[str, str]],
    said: str,
) -> None:
    answer = client(secured, **settings(realm, tmp_path)).fails("connect")
    assert answer["error"] == "configuration"
    assert_matches(said, answer["text"])


@needs_kdc
def test_a_krb5_conf_that_does_not_know_the_realm_is_named(
    client: Open, realm: Realm, secured: LocalKudu, tmp_path: Path
) -> None:
    (tmp_path / "krb5.conf").write_text("[libdefaults]\ndns_lookup_kdc = false\ndefault_realm = OTHER.INVALID\n")
    one = client(secured, environ={"KRB5_CONFIG": str(tmp_path / "krb5.conf")}, **keytab(realm, "alice"))
    answer = one.fails("connect")
    assert_matches("Kerberos Principal: Java finds no KDC for alice.*KRB5_CONFIG names", answer["text"])


@needs_kdc
def test_tickets_are_renewed_before_they_expire(client: Open, realm: Realm, secured: LocalKudu) -> None:
    kept, let_go = (client(secured, **keytab(realm, "short")) for _ in range(2))
    for one in (kept, let_go):
        one.well("connect", "create", "write")
    let_go.well("renew no more")
    time.sleep(2 * SHORT_S)  # connections are closed by then, and the tokens that stand for the ticket are over
    kept.well("write", "write")
    assert kept.well("count") == 3
    answer = let_go.fails("write")  # the counter-check: it is the renewal that keeps the other going
    assert answer["error"] == "kudu.unavailable"
    assert_matches("no Kerberos ticket: the ticket has expired", answer["text"])


@needs_kdc
def test_a_kdc_that_is_away_costs_time_and_no_rows(client: Open, realm: Realm, secured: LocalKudu) -> None:
    one = client(secured, operation_timeout_s=3, admin_timeout_s=3, **keytab(realm, "short"))
    one.well("connect", "create", "write")
    realm.stop()
    try:
        late = client(secured, operation_timeout_s=3, admin_timeout_s=3, **keytab(realm, "short"))
        late.well("connect")
        time.sleep(SHORT_S + 2)
        answers = [one.fails("write"), late.fails("create")]
    finally:
        realm.start()
    for answer in answers:
        assert answer["error"] == "kudu.unavailable"
        assert_matches("no Kerberos ticket: .*[Cc]onnection refused", answer["text"])
    lines = [line for line in answers[0]["log"] if line.startswith("Kerberos")]
    assert len(lines) == 1, lines
    assert_matches(f"Kerberos: no new ticket for short@{REALM}, trying again: .*refused", lines[0])

    assert until(lambda: "error" not in one.do("write"), 60)
    assert until(lambda: "error" not in late.do("create"), 60)
    late.well("write")


# --- what a cluster demands and what we demand ------------------------------------------------------------------------


@needs_kdc
def test_nobody_is_refused_at_once(client: Open, secured: LocalKudu) -> None:
    answer = client(secured).fails("connect", "create")
    assert answer["error"] == "kudu.not_authorized"
    assert_matches("Kerberos Principal and Kerberos Keytab are needed: server requires authentication", answer["text"])
    assert answer["s"] < 10


@needs_kdc
def test_a_user_who_may_not_is_refused_at_once(client: Open, realm: Realm, secured: LocalKudu) -> None:
    answer = client(secured, **keytab(realm, "bob")).fails("connect", "create")
    assert answer["error"] == "kudu.not_authorized"
    assert_matches("the user is not in the cluster's --user_acl", answer["text"])
    assert answer["s"] < 10


@needs_kdc
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"require_authentication": True}, "Require Authentication is true: .*server does not have Kerberos enabled"),
        ({"encryption": "required"}, "Encryption is required: server does not support required TLS encryption"),
    ],
)
def test_a_cluster_that_offers_less_than_we_demand_is_refused_at_once(
    client: Open, bare: LocalKudu, settings: dict[str, Any], said: str
) -> None:
    answer = client(bare, **settings).fails("connect", "create")
    assert answer["error"] == "kudu.not_authorized"
    assert_matches(said, answer["text"])
    assert answer["s"] < 10


@needs_kdc
def test_required_encryption_works_without_kerberos(client: Open, kudu: LocalKudu) -> None:
    one = client(kudu, encryption="required")
    one.well("connect", "create", "write")
    assert one.well("count") == 1


@needs_kdc
def test_a_cluster_without_kerberos_takes_a_client_with_it(client: Open, realm: Realm, bare: LocalKudu) -> None:
    one = client(bare, **keytab(realm, "alice"))
    one.well("connect", "create", "write")
    assert one.well("count") == 1


@needs_kdc
def test_another_sasl_name_is_pointed_at(client: Open, realm: Realm, secured: LocalKudu) -> None:
    one = client(secured, sasl_protocol_name="other", admin_timeout_s=3, **keytab(realm, "alice"))
    answer = one.fails("connect", "create")
    assert answer["error"] == "kudu.unavailable"  # a KDC that does not answer looks the same to the client
    assert_matches("look at Kudu SASL Protocol Name", answer["text"])


# --- tokens and certificates ------------------------------------------------------------------------------------------


@needs_kdc
def test_a_token_writes_rows(client: Open, secured: LocalKudu, signing_key: Path, certificates: str) -> None:
    demands = {"require_authentication": True, "encryption": "required"}
    one = client(secured, jwt=token(signing_key, "alice"), certificates=certificates, **demands)
    one.well("connect", "create", "write")
    time.sleep(4)  # what the cluster gave for it is over, so it is shown again
    one.well("write")
    assert one.well("count") == 2


@needs_kdc
def test_a_token_of_a_user_who_may_not_is_refused_at_once(
    client: Open, secured: LocalKudu, signing_key: Path, certificates: str
) -> None:
    answer = client(secured, jwt=token(signing_key, "bob"), certificates=certificates).fails("connect", "create")
    assert answer["error"] == "kudu.not_authorized"
    assert answer["s"] < 10


@needs_kdc
def test_a_token_with_a_wrong_signature_is_pointed_at(client: Open, secured: LocalKudu, certificates: str) -> None:
    one = client(secured, jwt=token(None, "alice"), certificates=certificates, admin_timeout_s=3)
    answer = one.fails("connect", "create")
    assert answer["error"] == "kudu.unavailable"
    assert_matches("look at JSON Web Token and Trusted Certificates", answer["text"])


@needs_kdc
def test_a_token_is_not_shown_to_a_server_with_another_certificate(
    client: Open, secured: LocalKudu, signing_key: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(openssl("req", "-x509", "-key", str(signing_key), "-subj", "/CN=other", "-days", "1"))
    one = client(secured, jwt=token(signing_key, "alice"), certificates=str(other), admin_timeout_s=3)
    answer = one.fails("connect", "create")
    assert answer["error"] == "kudu.unavailable"
    assert_matches("look at JSON Web Token and Trusted Certificates", answer["text"])


@needs_kdc
def test_a_cluster_without_tokens_wants_a_ticket(
    client: Open, bare: LocalKudu, signing_key: Path, certificates: str
) -> None:
    one = client(bare, jwt=token(signing_key, "alice"), certificates=certificates, require_authentication=True)
    answer = one.fails("connect", "create")
    assert answer["error"] == "kudu.not_authorized"


@needs_kdc
def test_a_damaged_certificate_names_its_property(client: Open, secured: LocalKudu, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(
        f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'nothing').decode()}\n-----END CERTIFICATE-----\n"
    )
    answer = client(secured, certificates=str(path)).fails("connect")
    assert answer["error"] == "configuration"
    assert_matches("Trusted Certificates: .*ca.pem holds a damaged certificate", answer["text"])


# --- without a cluster ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "No such file or directory", id="no-file"),
        pytest.param(b"\xff\xfe", "cannot be read", id="no-text"),
        pytest.param(b"hello", "holds no certificate in PEM", id="no-pem"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", "damaged certificate", id="no-base64"
        ),
    ],
)
def test_certificates_that_are_none_name_their_property(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^Trusted Certificates: .*{said}"):
        read_certificates(str(path))


def test_a_pem_file_may_hold_several_certificates_and_other_text(tmp_path: Path) -> None:
    one = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_text(f"ours\n{one}\ntheirs\n{one}")
    assert read_certificates(str(tmp_path / "ca.pem")) == [b"abc", b"abc"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "is no token"),
        ("a.b.c", "is no token"),
        (f"a.{b64(b'[1]')}.c", "is no token"),
        (f"a.{b64(b'{}')}", None),
        (token(None, "alice", -1), r"has expired, at \d{4}-"),
        (token(None, "alice"), None),
    ],
)
def test_a_token_that_no_server_takes_is_refused_before_it_is_sent(text: str, said: str | None) -> None:
    if said is None:
        check_token(text, time.time())
        return
    with pytest.raises(ConfigurationError, match=f"^JSON Web Token: {said}"):
        check_token(text, time.time())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"principal": "alice"}, "Kerberos Keytab"),
        ({"keytab": "file"}, "Kerberos Keytab"),
        ({"principal": "alice", "keytab": "file", "ticket_cache": "file"}, "Kerberos Ticket Cache"),
        ({"jwt": "token"}, "Trusted Certificates"),
    ],
)
def test_settings_that_do_not_go_together_name_one_of_them(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{named}: "):
        KuduSettings("localhost", **settings)


def test_a_token_is_not_in_what_is_logged() -> None:
    assert "secret" not in repr(KuduSettings("localhost", jwt="secret", certificates="file"))


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)
