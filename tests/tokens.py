"""Tokens for tests: good ones and forged ones, and the keys behind them."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of 32 bytes or a few more"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changed: Any) -> dict[str, Any]:
    """Those of an administrator, good for an hour; None takes one away."""
    now = int(time.time())
    found = {"sub": "anna", "aud": "dsm", "iat": now, "exp": now + 3600, "roles": ["admin"]} | changed
    return {name: value for name, value in found.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", key_id: str = "", **changed: Any) -> str:
    """A token with these claims."""
    return jwt.encode(claims(**changed), key, algorithm, {"kid": key_id} if key_id else None)


def jwks(**keys: Any) -> str:
    """The public keys of private ones, by their ids."""
    return json.dumps({"keys": [public_entry(private) | {"kid": name} for name, private in keys.items()]})


def public_entry(private: Any) -> dict[str, Any]:
    """The public key of a private one, as a JWKS lists it."""
    is_rsa = isinstance(private, rsa.RSAPrivateKey)
    algorithm = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    entry: dict[str, Any] = json.loads(algorithm.to_jwk(private.public_key()))
    return entry


def signed_with_the_public_key(key_id: str = "", **changed: Any) -> str:
    """What a careless verifier takes: HMAC with the public key as its secret. PyJWT refuses to make it."""
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims(**changed)))
    return f"{text}.{_encoded(hmac.new(public, text.encode(), hashlib.sha256).digest())}"


def unsigned(**changed: Any) -> str:
    """A token with the algorithm none."""
    return jwt.encode(claims(**changed), "", "none")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
