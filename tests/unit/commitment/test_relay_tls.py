"""The way from the balancer to the storing service is TLS on both sides, with certificates of the site's authority."""

import ssl
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined] # made at import time

from hapacs.pki import Authority
from hapacs_node.commitment.relay import Relay
from hapacs_node.commitment.settings import Address
from hapacs_node.https import Listener
from hapacs_node.metrics import Metrics
from hapacs_node.routing.peer import Identity
from tests.support.commitment import ask
from tests.support.images import ct
from tests.unit.node.certificates import certificate

CT = str(CTImageStorage)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    authority = Authority(tmp_path, "pacs", "passphrase-of-the-test")
    authority.ensure()
    signed, key = certificate(authority, tmp_path, "pacs1", "server", "client")
    return Identity(signed, key, authority.certificate_file)


@pytest.fixture
def relay(identity: Identity) -> Iterator[Relay]:
    entity = AE(ae_title="HAPACS")
    for sop_class in (CTImageStorage, StorageCommitmentPushModel):
        entity.add_supported_context(sop_class)
    tls = Listener("127.0.0.1", 0, identity.certificate, identity.key, identity.authority).tls()
    store = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=tls, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    assert store is not None
    made = Relay(
        Address.model_construct(host="127.0.0.1", port=0),
        Address(host="127.0.0.1", port=store.server_address[1]),
        lambda *_: None,
        lambda *_: 0,
        Metrics(),
        inward=tls,
        onward=identity.context(None, names=False),
    )
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop, 0.1))
    thread.start()
    assert made.wait(10)
    yield made
    stop.set()
    thread.join(30)
    store.shutdown()
    assert not thread.is_alive()


def entity() -> AE:
    made = AE(ae_title="CT1")
    made.acse_timeout = made.dimse_timeout = made.network_timeout = 30
    made.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    made.add_requested_context(StorageCommitmentPushModel)
    return made


def test_image_and_request_pass(relay: Relay, identity: Identity) -> None:
    tls = identity.context(None, names=False)
    association = entity().associate("127.0.0.1", relay.port, ae_title="HAPACS", tls_args=(tls, "127.0.0.1"))
    image = dcmread(BytesIO(ct()))
    assert association.send_c_store(image).Status == 0
    assert ask(association, (CT, image.SOPInstanceUID))[1] == 0
    association.release()
    assert association.is_released


def test_connection_without_a_certificate_is_refused(relay: Relay, identity: Identity) -> None:
    tls = ssl.create_default_context(cafile=identity.authority)
    tls.check_hostname = False
    association = entity().associate("127.0.0.1", relay.port, ae_title="HAPACS", tls_args=(tls, "127.0.0.1"))
    assert not association.is_established
