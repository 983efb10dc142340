"""Panels as every dashboard has them: a title, what to do when it looks wrong, a unit, and the same looks."""

from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import bargauge as bargauge_builder
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import statetimeline as statetimeline_builder
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.builders import timeseries as timeseries_builder
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    TableFooterOptions,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
)

from states import GOOD
from targets import MIXED, Query, Rest

GRID_WIDTH = 24

Steps = list[tuple[float, str]]


@dataclass(frozen=True)
class Text:
    """What a panel says of itself."""

    title: str
    description: str


@dataclass(frozen=True)
class Look:
    """How numbers are shown. `steps` colour from a value on; below the first one stands `base`."""

    unit: str
    decimals: int | None = None
    steps: Steps = field(default_factory=list)
    base: str = GOOD
    mappings: tuple[ValueMap, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    no_value: str | None = None


def _thresholds(base: str, steps: Steps) -> list[Threshold]:
    return [Threshold(color=base), *(Threshold(value=value, color=color) for value, color in steps)]


def _dress(panel: Any, text: Text, look: Look, queries: list[Query], size: tuple[int, int]) -> Any:
    width, height = size
    panel.title(text.title).description(text.description).span(width).height(height)
    sources = [query.datasource for query in queries]
    panel.datasource(sources[0] if all(source is sources[0] for source in sources) else MIXED).unit(look.unit)
    for index, query in enumerate(queries):
        panel.with_target(query.target(chr(ord("A") + index)))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(_thresholds(look.base, look.steps)))
    if look.decimals is not None:
        panel.decimals(look.decimals)
    if look.mappings:
        panel.mappings(list(look.mappings))
    if look.minimum is not None:
        panel.min(look.minimum)
    if look.maximum is not None:
        panel.max(look.maximum)
    if look.no_value is not None:
        panel.no_value(look.no_value)
    return panel


def _reduce(all_fields: bool, per_row: bool) -> ReduceDataOptions:
    # With a name that matches none, Grafana shows numeric fields; this shows text too.
    fields = "/.*/" if all_fields else ""
    return ReduceDataOptions().calcs(["lastNotNull"]).fields(fields).values(per_row)


def stat(text: Text, look: Look, queries: list[Query], size: tuple[int, int] = (6, 4), is_text: bool = False) -> Any:
    """Numbers of this moment, or of the whole range."""
    panel = _dress(stat_builder.Panel(), text, look, queries, size)
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.reduce_options(_reduce(is_text, per_row=False)).text_mode(common.BigValueTextMode.AUTO)
    if isinstance(queries[0], Rest):
        panel.with_transformation(_in_order(queries[0]))
    return panel


def bars(text: Text, look: Look, queries: list[Query], size: tuple[int, int] = (8, 8), name: str | None = None) -> Any:
    """The few that stand out, side by side. Without a `name` of its own, a single bar has none."""
    panel = _dress(bargauge_builder.Panel(), text, look, queries, size)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    if name:
        panel.display_name(name)
    panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.GRADIENT)
    return panel.reduce_options(_reduce(all_fields=False, per_row=False)).value_mode(common.BarGaugeValueMode.COLOR)


@dataclass(frozen=True)
class Draw:
    stacked: bool = False
    as_bars: bool = False
    limits_pattern: str = ""
    colors: dict[str, str] = field(default_factory=dict)


def graph(text: Text, look: Look, queries: list[Query], size: tuple[int, int] = (12, 8), draw: Draw = Draw()) -> Any:
    """Values over time."""
    panel = _dress(timeseries_builder.Panel(), text, look, queries, size)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    panel.line_width(1).fill_opacity(10).show_points(common.VisibilityMode.NEVER)
    panel.legend(
        VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if draw.as_bars:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60).bar_alignment(common.BarAlignment.AFTER)
    if draw.stacked:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        panel.fill_opacity(60)
    if look.steps:
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    for name, color in draw.colors.items():
        panel.override_by_name(name, [fixed_color(color)])
    if draw.limits_pattern:
        panel.override_by_regexp(draw.limits_pattern, _as_limit())
    return panel


def _as_limit() -> list[DynamicConfigValue]:
    """What values are measured against: a thin dashed line without an area."""
    return [
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
        DynamicConfigValue("custom.fillOpacity", 0),
        fixed_color("#808080"),
    ]


def timeline(
    text: Text, look: Look, queries: list[Query], size: tuple[int, int] = (24, 6), show_value: bool = False
) -> Any:
    """States over time, one lane a series."""
    panel = _dress(statetimeline_builder.Panel(), text, look, queries, size)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color("#808080"))
    # Without pages: the SDK's default shows buttons for them under a single lane.
    panel.build().options.per_page = None
    panel.merge_values(True).row_height(0.8).line_width(0).fill_opacity(80)
    shown = common.VisibilityMode.AUTO if show_value else common.VisibilityMode.NEVER
    panel.show_value(shown).tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    return panel.legend(
        VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def table(
    text: Text,
    look: Look,
    queries: list[Query],
    size: tuple[int, int] = (24, 10),
    sort: tuple[str, bool] | None = None,
    paged: bool = False,
) -> Any:
    """Rows. `sort` is a column and whether it descends."""
    panel = _dress(table_builder.Panel(), text, look, queries, size)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color("text"))
    panel.footer(TableFooterOptions().show(False).reducer([]).enable_pagination(paged))
    panel.cell_height(common.TableCellHeight.SM).show_header(True).filterable(True)
    if sort:
        panel.sort_by([TableSortByFieldState().display_name(sort[0]).desc(sort[1])])
    if len(queries) == 1 and isinstance(queries[0], Rest):
        panel.with_transformation(_in_order(queries[0]))
    return panel


def _in_order(query: Rest) -> DataTransformerConfig:
    """Infinity's backend answers with columns in the alphabet's order."""
    return organize([name for name, _ in query.columns])


def organize(
    order: list[str], names: dict[str, str] | None = None, hidden: list[str] | None = None
) -> DataTransformerConfig:
    return DataTransformerConfig(
        id_val="organize",
        options={
            "indexByName": {name: index for index, name in enumerate(order)},
            "renameByName": names or {},
            "excludeByName": {name: True for name in hidden or []},
        },
    )


def join(by: str, mode: str) -> DataTransformerConfig:
    return DataTransformerConfig(id_val="joinByField", options={"byField": by, "mode": mode})


def only_with(name: str) -> DataTransformerConfig:
    """Drops rows that have nothing in this column."""
    is_null = {"id": "isNull", "options": {}}
    return DataTransformerConfig(
        id_val="filterByValue",
        options={"filters": [{"fieldName": name, "config": is_null}], "type": "exclude", "match": "any"},
    )


def without_frame_names(ref_id: str) -> DataTransformerConfig:
    """A join calls columns "Name A" where their frame is named after its query, as Infinity's are."""
    return DataTransformerConfig(id_val="renameByRegex", options={"regex": f"^(.*) {ref_id}$", "renamePattern": "$1"})


def one_lane_each(name: str) -> DataTransformerConfig:
    naming = {"asLabels": True}
    return DataTransformerConfig(
        id_val="partitionByValues", options={"fields": [name], "keepFields": False, "naming": naming}
    )


# Properties of single columns.


def unit(value: str, decimals: int | None = None) -> list[DynamicConfigValue]:
    properties = [DynamicConfigValue("unit", value)]
    return properties if decimals is None else [*properties, DynamicConfigValue("decimals", decimals)]


def width(pixels: int) -> DynamicConfigValue:
    return DynamicConfigValue("custom.width", pixels)


def hidden() -> DynamicConfigValue:
    return DynamicConfigValue("custom.hidden", True)


def mapped(words: ValueMap) -> list[DynamicConfigValue]:
    """Text in the colour of its meaning."""
    return [DynamicConfigValue("mappings", [words.to_json()]), _cell({"type": "color-text"})]


def gauge(unit_: str, steps: Steps, maximum: float = 1, base: str = GOOD) -> list[DynamicConfigValue]:
    return [
        *unit(unit_),
        DynamicConfigValue("min", 0),
        DynamicConfigValue("max", maximum),
        _cell({"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        *colored(steps, base),
    ]


def colored(steps: Steps, base: str = GOOD) -> list[DynamicConfigValue]:
    thresholds = {"mode": "absolute", "steps": [step.to_json() for step in _thresholds(base, steps)]}
    return [DynamicConfigValue("thresholds", thresholds), DynamicConfigValue("color", {"mode": "thresholds"})]


def colored_text(steps: Steps, base: str = GOOD) -> list[DynamicConfigValue]:
    return [*colored(steps, base), _cell({"type": "color-text"})]


def inspectable() -> DynamicConfigValue:
    """Long text can be opened in full."""
    return DynamicConfigValue("custom.inspect", True)


def linked(links: list[dict[str, object]]) -> DynamicConfigValue:
    return DynamicConfigValue("links", links)


def shown_as(name: str) -> DynamicConfigValue:
    return DynamicConfigValue("displayName", name)


def fixed_color(color: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})


def _cell(options: dict[str, object]) -> DynamicConfigValue:
    return DynamicConfigValue("custom.cellOptions", options)
