"""A client for the few S3 requests that modules make, so that a node needs no further package."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

TIMEOUT_S = 20


def signature_headers(
    method: str,
    url: str,
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    now: datetime.datetime,
    headers: dict[str, str] | None = None,
) -> dict[str, str]:
    """Return the headers of a request signed with AWS Signature Version 4 for the service `s3`.

    Parameters
    ----------
    headers : dict, optional
        Further headers of the request; they are signed and returned too.
    """
    parts = urllib.parse.urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    signed = {key.lower(): value for key, value in (headers or {}).items()}
    signed |= {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(signed))
    query = "&".join(sorted(item if "=" in item else item + "=" for item in parts.query.split("&") if item))
    canonical = "\n".join(
        [method, parts.path or "/", query, *(f"{key}:{signed[key]}" for key in sorted(signed)), "", names, digest]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret_key).encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**signed, "authorization": authorization}


@dataclass(frozen=True)
class Client:
    """One identity at one gateway.

    Attributes
    ----------
    context
        Whom to trust; None for a gateway on loopback that speaks in the clear.
    """

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    context: ssl.SSLContext | None

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request; return its status and body, whatever the status is."""
        url = self.endpoint + path
        signed = signature_headers(
            method,
            url,
            body,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            now=datetime.datetime.now(datetime.UTC),
            headers=headers,
        )
        # Its caller chooses http or https.
        request = urllib.request.Request(url, data=body or None, method=method, headers=signed)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self.context) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
