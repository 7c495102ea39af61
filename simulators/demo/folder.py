"""Where one run of the demo keeps its data, settings, secrets and logs."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One folder, used by one run."""

    root: Path

    @property
    def database(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "database"

    @property
    def secrets(self) -> Path:
        """Passwords and tokens, for the owner's eyes only."""
        return self.root / "secrets"

    @property
    def database_uri(self) -> Path:
        """File with the database's URI."""
        return self.secrets / "database-uri"

    @property
    def accounts(self) -> Path:
        """The broker's accounts."""
        return self.secrets / "broker-accounts.json"

    @property
    def truth(self) -> Path:
        """What the simulators say they did."""
        return self.root / "truth.json"

    @property
    def endpoints(self) -> Path:
        """Where the simulated devices listen."""
        return self.root / "endpoints.json"

    @property
    def master_data(self) -> Path:
        """The scenario's master data, with moments."""
        return self.root / "master-data.json"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.root / "logs" / f"{name}.log"

    def agent(self, name: str) -> Path:
        """An agent's settings."""
        return self.root / f"{name}.toml"

    def state(self, name: str) -> Path:
        """An agent's state."""
        return self.root / "state" / name

    def write_secret(self, name: str, value: str) -> Path:
        """Writes a secret and returns its path."""
        path = self.secrets / name
        path.touch(mode=0o600)
        path.write_text(value, encoding="utf-8")
        return path


def make_folder(keep: Path | None) -> RunFolder:
    """A fresh run folder: a temporary one, or `keep`, which must not hold anything. Raises ConfigurationError."""
    if keep is None:
        root = Path(tempfile.mkdtemp(prefix="quartermaster-demo-"))
    else:
        root = keep.absolute()
        if root.exists() and any(root.iterdir()):
            raise ConfigurationError(f"--keep {root}: is not empty; name a new folder")
        _refuse_private_home(root)
        root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    folder = RunFolder(root)
    folder.secrets.mkdir(mode=0o700)
    (root / "logs").mkdir()
    (root / "state").mkdir()
    return folder


def _refuse_private_home(root: Path) -> None:
    """As root, PostgreSQL runs as another user, for whom every folder above its data would be opened."""
    if os.geteuid() != 0:
        return
    for above in root.parents:
        if above.exists() and not above.stat().st_mode & stat.S_IXOTH:
            raise ConfigurationError(
                f"--keep {root}: {above} is private, and as root the database would open it to everyone; use a folder under /tmp"
            )
