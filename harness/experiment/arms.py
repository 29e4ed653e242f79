"""Arms: methods with their settings, each under a name of its own.

Most arms are named as their method. A variant says whose it is (``of``), and decodes with a
training and tuning of its own unless it says whose it takes (``uses``). This is where the harness
looks methods up by name.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.errors import HarnessError
from harness.files import checked
from methods import METHODS, Entry, load_method

if TYPE_CHECKING:
    from harness.method import Method

KNOWN = tuple(METHODS)
GREEDY_ONLY = frozenset(name for name, entry in METHODS.items() if entry.greedy)
# As a config has them, checked by the method's own class; ``of`` and ``uses`` are beside them.
Settings: TypeAlias = dict[str, Any]
Arms: TypeAlias = "dict[str, Arm]"


@dataclass(frozen=True, slots=True)
class Arm:
    """A method of the table (``of``) with settings; ``uses``: whose training it takes, if not its
    own. Raises HarnessError for a method that is not in the table.
    """

    name: str
    of: str
    settings: Settings
    uses: str = ""

    def __post_init__(self) -> None:
        if self.of not in METHODS:
            raise HarnessError(f"method '{self.of}': expected one of {', '.join(METHODS)}")

    @property
    def method(self) -> "Method":
        """What the method's module hands over; imports it, and torch with it."""
        return load_method(self.of)

    @property
    def entry(self) -> Entry:
        """The method's line of the table."""
        return METHODS[self.of]

    @property
    def prepared(self) -> Entry:
        """The line of the method whose training and tuning are behind this arm."""
        return METHODS[self.entry.uses or self.of]

    @property
    def folder(self) -> str:
        """Whose folder holds its training and tuning: its own, unless its method has none."""
        return (self.uses or self.entry.uses) if self.entry.uses else self.name

    @property
    def shares(self) -> str:
        """The arm whose trained parts are put into its own folder, to be tuned there; or empty."""
        return self.uses if self.entry.trained else ""

    @property
    def trained(self) -> bool:
        """Whether a training of its own makes its parts."""
        return self.entry.trained and not self.uses

    @property
    def tuned(self) -> bool:
        """Whether its setting is chosen by a tuning of its own."""
        return self.entry.tuned

    @property
    def training(self) -> Settings:
        """The settings that its training reads: a change of another one trains nothing anew."""
        return {key: self.settings[key] for key in self.settings if key not in self.entry.tuning}

    def given(self, settings: Settings | None = None) -> Settings:
        """All or some of its settings with its method, as a config has them."""
        settings = self.settings if settings is None else settings
        variant = {"of": self.of} if self.of != self.name else {}
        return variant | ({"uses": self.uses} if self.uses else {}) | settings


def parse_arm(name: str, given: Settings | None) -> Arm:
    """The arm of a config's mapping: its settings, and ``of`` and ``uses`` of a variant."""
    settings = dict(given or {})
    named = {key: settings.pop(key, default) for key, default in (("of", name), ("uses", ""))}
    of, uses = checked(dict[str, str], named, f"methods.{name}").values()
    if not uses and of in METHODS:
        uses = METHODS[of].parts_of
    return Arm(name, of, settings, uses)
