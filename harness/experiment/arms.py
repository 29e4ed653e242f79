"""Arms: methods with their settings, each under a name of its own.

Most arms carry the name of their method. A variant names its method (``of``), and is trained and
tuned by itself unless it names the arm whose training it takes (``uses``). This is where the
harness looks methods up by name.
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
# As in a config, checked by the method's own class; a variant's also hold what ``OF_VARIANTS`` has.
OF_VARIANTS = ("of", "uses", "seed")
Settings: TypeAlias = dict[str, Any]
Arms: TypeAlias = "dict[str, Arm]"


@dataclass(frozen=True, slots=True)
class Arm:
    """A method of the table (``of``) with settings; ``uses`` names the arm whose training it takes,
    if not its own; ``seed`` is that of its training, if not the experiment's. Raises HarnessError
    for a method that is not in the table.
    """

    name: str
    of: str
    settings: Settings
    uses: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.of not in METHODS:
            raise HarnessError(f"method '{self.of}': expected one of {', '.join(METHODS)}")

    @property
    def method(self) -> "Method":
        """The ``METHOD`` of the method's module; imports the module, and torch with it."""
        return load_method(self.of)

    @property
    def entry(self) -> Entry:
        """The method's entry in the table."""
        return METHODS[self.of]

    @property
    def prepared(self) -> Entry:
        """The table's entry of the method whose training and tuning this arm decodes with."""
        return METHODS[self.entry.uses or self.of]

    @property
    def folder(self) -> str:
        """The arm whose folder holds its training and tuning: this one, or the one it uses."""
        return (self.uses or self.entry.uses) if self.entry.uses else self.name

    @property
    def shares(self) -> str:
        """The arm whose trained parts it takes and tunes in its own folder; "" if none."""
        return self.uses if self.entry.trained else ""

    @property
    def trained(self) -> bool:
        """Whether its parts come from a training of its own."""
        return self.entry.trained and not self.uses

    @property
    def tuned(self) -> bool:
        """Whether its setting is chosen by a tuning of its own."""
        return self.entry.tuned

    def training_settings(self, settings: Settings) -> Settings:
        """Those of ``settings`` that its training reads; a change of others retrains nothing."""
        return {key: settings[key] for key in settings if key not in self.entry.tuning}

    def given(self) -> Settings:
        """The arm as a config has it: its settings, with those keys that only variants have."""
        variant: Settings = {"of": self.of} if self.of != self.name else {}
        variant |= {"uses": self.uses} if self.uses else {}
        variant |= {} if self.seed is None else {"seed": self.seed}
        return variant | self.settings


def parse_arm(name: str, mapping: Settings | None) -> Arm:
    """Parse an arm's mapping in a config: its settings, and the keys that only variants have."""
    settings = dict(mapping or {})
    seed = settings.pop("seed", None)
    seed = None if seed is None else checked(int, seed, f"methods.{name}.seed")
    origin = {key: settings.pop(key, default) for key, default in (("of", name), ("uses", ""))}
    of, uses = checked(dict[str, str], origin, f"methods.{name}").values()
    if not uses and of in METHODS:
        uses = METHODS[of].parts_of
    return Arm(name, of, settings, uses, seed)
