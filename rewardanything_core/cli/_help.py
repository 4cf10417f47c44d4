"""Options in groups, in the plain text of ``--help``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

JUDGE, APP, SPENDING = "Judge", "Application", "Spending"
SIDES, PRINCIPLES, DECISION, REPORTS = "What to compare", "Principles", "Decision", "Reports"
RESPONSES, JURY, BENCHMARK, PEOPLE = "Responses", "Jury", "Benchmark", "People"


class GroupedCommand(TyperCommand):
    """A command whose options are listed by their ``rich_help_panel``, in the order in which the groups first occur."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and arguments.

        Args:
            ctx: The context of the command.
            formatter: Where to write.
        """
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = parameter.param_type_name == "argument"
                group = getattr(parameter, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
                groups.setdefault(group, []).append(record)
        if "Options" in groups:
            groups["Options"] = groups.pop("Options")  # --help comes last
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
