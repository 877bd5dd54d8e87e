"""TLS as a connection's extra describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from godwit.errors import EndpointError

_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


def tls_options(
    extra: Mapping[str, Any], where: str, *, local: bool
) -> tuple[dict[str, Any], bool]:
    """The driver's options, and whether a server without TLS must be refused.

    Without ``ssl_mode`` TLS is used when the server offers it; a given certificate authority means
    VERIFY_CA. `local`: a socket of this machine needs none.

    Raises:
        EndpointError: the extra cannot be understood.
    """
    files = _files(extra, where)
    default = "VERIFY_CA" if files.get("ca") else "REQUIRED" if files else "PREFERRED"
    mode = str(extra.get("ssl_mode") or extra.get("ssl-mode") or default).upper()
    if mode not in _MODES:
        raise EndpointError(
            f"ssl_mode {mode!r} is not known",
            where=where,
            why=f"it is one of {', '.join(_MODES)}",
            hint="correct ssl_mode in the connection's extra",
        )
    if mode == "DISABLED" or (mode == "PREFERRED" and local):
        return {"ssl_disabled": True}, False
    verify = mode.startswith("VERIFY")
    # Without an authority in the extra the machine's own ones verify.
    given = {"ca": files.get("ca"), "capath": files.get("capath")} if verify else {}
    tls: dict[str, Any] = {
        **{k: v for k, v in files.items() if k in ("cert", "key", "cipher", "password")},
        **given,
        "verify_mode": "required" if verify else "none",
        "check_hostname": mode == "VERIFY_IDENTITY",
    }
    return {"ssl": _context(tls, where)}, mode != "PREFERRED"


def _files(extra: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = extra.get("ssl") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise EndpointError(
            "ssl cannot be read",
            where=where,
            why="it is not a JSON object",
            hint='write ssl in the connection\'s extra as {"ca": …, "cert": …, "key": …}',
        )
    files = {str(k).removeprefix("ssl_").removeprefix("ssl-"): v for k, v in given.items() if v}
    for key in ("ca", "capath", "cert", "key", "cipher"):
        value = extra.get(f"ssl_{key}") or extra.get(f"ssl-{key}")
        if value:
            files.setdefault(key, value)
    return files


def _context(tls: Mapping[str, Any], where: str) -> Any:
    import ssl

    try:
        context = ssl.create_default_context(cafile=tls.get("ca"), capath=tls.get("capath"))
        # Certificates that MySQL makes for itself lack what strict X.509 wants.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = bool(tls["check_hostname"])
        context.verify_mode = (
            ssl.CERT_REQUIRED if tls["verify_mode"] == "required" else ssl.CERT_NONE
        )
        if tls.get("cert"):
            context.load_cert_chain(tls["cert"], tls.get("key"), tls.get("password"))
        if tls.get("cipher"):
            context.set_ciphers(str(tls["cipher"]))
    except (OSError, ValueError) as cause:
        raise EndpointError(
            "the TLS files of the connection cannot be used",
            where=where,
            why=f"{type(cause).__name__}: {getattr(cause, 'strerror', None) or cause}",
            hint="check ca, cert, key and cipher of ssl in the connection's extra",
        ) from None
    return context
