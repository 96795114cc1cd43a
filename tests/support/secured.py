"""A broker that lets nobody in unasked: TLS, SCRAM-SHA-512, and ACLs. Its owner's door is the usual plain one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation, not by its stubs
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from connectors.client_options import read_options
from connectors.cluster import Cluster
from streams.acls import Right
from streams.kafka_runtime import JavaRuntime, find_runtime
from streams.local_broker import LocalBroker
from tests.support.waiting import wait_for
from tests.support.workers import free_port

PASSWORD = "s3cr\\t of {}"  # noqa: S105 - of a broker that lives for one test
"""With what a properties file could swallow."""

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class Door:
    """How one user comes in: its properties file, and the same as options."""

    file: Path
    cluster: Cluster


class SecuredBroker:
    """A broker with a second, secured listener; who comes through the plain one may do everything."""

    def __init__(self, folder: Path, broker: LocalBroker, port: int, ca: Path) -> None:
        self._folder = folder
        self._port = port
        self._ca = ca
        self.owner = broker.cluster
        self.admin = AdminClient(broker.cluster.producer())

    def door(self, user: str) -> Door:
        """Make a user with a password, and give its way in. It may do nothing yet."""
        password = PASSWORD.format(user)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        made = self.admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, info, password.encode())])
        made[user].result(30)
        escaped = password.replace("\\", "\\\\")
        file = self._folder / f"{user}.properties"
        file.write_text(
            f"security.protocol=SASL_SSL\nssl.ca.location={self._ca}\nsasl.mechanism=SCRAM-SHA-512\n"
            f"sasl.username={user}\nsasl.password={escaped}\n"
        )
        return Door(file, Cluster(f"127.0.0.1:{self._port}", read_options(file)))

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Give a user these rights and no others, and wait until the broker knows."""
        everything = AclBindingFilter(
            ResourceType.ANY, cast("str", None), ResourcePatternType.ANY, f"User:{user}", cast("str", None),  # None: any
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip
        self.admin.delete_acls([everything])[everything].result(30)
        bindings = [
            AclBinding(
                ResourceType[right.resource.upper().replace("-", "_")],
                right.name,
                ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
                f"User:{user}",
                "*",
                AclOperation[operation_name(right.operation)],
                AclPermissionType.ALLOW,
            )
            for right in rights
        ]
        for future in self.admin.create_acls(bindings).values() if bindings else ():
            future.result(30)
        wait_for(
            f"the broker knows the rights of {user}",
            lambda: len(self.admin.describe_acls(everything).result(30)) == len(bindings),
        )


def operation_name(operation: str) -> str:
    """``DescribeConfigs`` as the client has it: DESCRIBE_CONFIGS."""
    return "".join(f"_{sign}" if sign.isupper() else sign for sign in operation).lstrip("_").upper()


@contextmanager
def secured_broker(folder: Path) -> Iterator[SecuredBroker]:
    """Start one; its certificate is made by the keytool that comes with Java."""
    runtime = find_runtime("unused")
    if not isinstance(runtime, JavaRuntime):
        pytest.skip("needs Java itself, for its keytool; here Docker runs Kafka")
    keytool = shutil.which("keytool", path=str(Path(runtime.java).resolve().parent)) or "keytool"
    store, ca, port = folder / "broker.p12", folder / "ca.pem", free_port()
    access = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", "changeit", "-alias", "broker"]
    subprocess.run(
        [keytool, "-genkeypair", *access, "-keyalg", "EC", "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1,dns:localhost"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    subprocess.run([keytool, "-exportcert", "-rfc", *access, "-file", str(ca)], check=True, capture_output=True, timeout=60)
    broker = LocalBroker(folder / "broker")
    broker.extra_properties |= {
        "listeners": f"CLIENTS://127.0.0.1:{broker.broker_port},SECURED://127.0.0.1:{port},"
        f"CONTROLLER://127.0.0.1:{broker._controller_port}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{broker.broker_port},SECURED://127.0.0.1:{port}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.secured.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
        "listener.name.secured.ssl.keystore.location": str(store),
        "listener.name.secured.ssl.keystore.type": "PKCS12",
        "listener.name.secured.ssl.keystore.password": "changeit",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The plain listeners know nobody's name: the broker itself, the controller, and whoever owns this test.
        "super.users": "User:ANONYMOUS",
    }
    with broker:
        yield SecuredBroker(folder, broker, port, ca)
