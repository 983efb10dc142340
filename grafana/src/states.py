"""The words and numbers for where things stand, and their colours: one meaning, one colour, on every dashboard."""

from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMappingResult

GOOD = "green"
QUIET = "blue"
WATCH = "yellow"
WARN = "orange"
BAD = "red"
GONE = "#808080"


def mapping(words: dict[str, tuple[str, str]]) -> ValueMap:
    """`words`: value -> (what is shown, colour)."""
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(words.items())
        }
    )


def words(colors: dict[str, str]) -> ValueMap:
    """Words that are shown as they are."""
    return mapping({word: (word.replace("_", " "), color) for word, color in colors.items()})


# `worker:status:code`
WORKER_CODE = mapping(
    {
        "0": ("never connected", GONE),
        "1": ("stopped", GONE),
        "2": ("lost", BAD),
        "3": ("paused", WARN),
        "4": ("draining", WATCH),
        "5": ("idle", QUIET),
        "6": ("busy", GOOD),
    }
)

WORKER_COLORS = {"busy": GOOD, "idle": QUIET, "draining": WATCH, "paused": WARN, "offline": GONE}
WORKER_STATUS = words(WORKER_COLORS)
OFFLINE_REASON = words({"lost": BAD, "stopped": GONE, "never_connected": GONE})
SLOT_STATUS = words({"busy": GOOD, "idle": QUIET, "draining": WATCH, "paused": WARN})

TASK_COLORS = {
    "completed": GOOD,
    "running": QUIET,
    "pending": "light-blue",
    "paused": WATCH,
    "released": "purple",
    "cancelled": GONE,
    "expired": WARN,
    "failed": BAD,
}
TASK_STATUS = words(TASK_COLORS)

# `gpu:throttle:code`: the gravest reason that holds.
THROTTLE_CODE = mapping(
    {
        "0": ("full speed", GOOD),
        "1": ("idle", GONE),
        "2": ("clocks set", QUIET),
        "3": ("display clocks", QUIET),
        "4": ("sync boost", QUIET),
        "5": ("power limit", WATCH),
        "6": ("heat (driver)", WARN),
        "7": ("hardware slowdown", BAD),
        "8": ("power brake", BAD),
        "9": ("heat (hardware)", BAD),
    }
)

# P0 is the fastest; P8 and beyond are idle.
PERFORMANCE_STATE = mapping(
    {str(state): (f"P{state}", GOOD if state <= 2 else QUIET if state <= 5 else GONE) for state in range(16)}
)

HEALTH = mapping({"0": ("ill", BAD), "1": ("well", GOOD)})
ANSWERS = mapping({"0": ("lost", BAD), "1": ("answers", GOOD)})
SLOT_RUNNING = mapping({"0": ("no task", GONE), "1": ("rendering", GOOD)})
RECOVERY_ACTION = mapping(
    {
        "0": ("none", GOOD),
        "1": ("reset the GPU", WARN),
        "2": ("reboot", BAD),
        "3": ("drain P2P", WARN),
        "4": ("drain and reset", BAD),
    }
)
CHECK_PASSED = mapping({"0": ("failed", BAD), "1": ("passed", GOOD)})
