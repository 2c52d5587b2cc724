"""`recipe-search ui`: open MLflow on the store."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from search.commands.arguments import DONE, Commands
from search.settings.user_input import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("ui", help="open the MLflow UI on a store")
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow store (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: %(default)s)")
    parser.set_defaults(command=_ui)


def _ui(arguments: argparse.Namespace) -> int:
    from search.stores.passwords import without_password

    uri: str = arguments.uri
    if uri.startswith(("http://", "https://")):
        print(f"MLflow UI: {without_password(uri)}  (a server's pages; nothing is started here)")
        return DONE
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.is_file():
        raise InputError(f"no MLflow store at {path}: run a study first, or name another store with --uri")
    address = f"http://127.0.0.1:{arguments.port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    print(f"MLflow UI: {address}{_runs_page(uri)}  (Ctrl-C ends it)", flush=True)
    # The server warns of a library that it uses itself.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:starlette.middleware.wsgi is deprecated")
    os.execv(command[0], command)


def _runs_page(uri: str) -> str:
    """Return the path to the table of the newest study's runs: MLflow's home shows no runs."""
    from search.stores.mlflow_store import newest_study
    from search.stores.mlflow_view import share_view

    found = newest_study(uri)
    return "" if found is None else share_view(uri, *found)
