"""The report of a month as a PDF of A4 pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hapacs.availability.blocks import Block, Heading, Note, Paragraph, Table, Verdict

if TYPE_CHECKING:
    from fpdf import FPDF

_FONT = "DejaVu"
_MARGINS_MM = (15, 18)
_TEXT_PT, _TABLE_PT = 10, 8
_HEADING_PT = {1: 18, 2: 13}
_INK = (28, 31, 36)
_LINE = (217, 220, 225)
# As on the page.
_COLOURS: dict[Verdict, tuple[int, int, int]] = {"kept": (20, 97, 48), "missed": (161, 36, 28), "unknown": (122, 75, 0)}
# Shares of the width: what is read as a sentence needs more.
_WIDTHS = {"name": 5, "text": 3, "number": 2, "verdict": 2}


def of(blocks: Sequence[Block], title: str, made_at: datetime) -> bytes:
    """Return a report as PDF.

    Parameters
    ----------
    blocks
        What it says.
    title
        The document's title.
    made_at
        Its date.
    """
    pdf = _empty(title, made_at)
    for block in blocks:
        match block:
            case Heading(level, text):
                pdf.ln(3)
                _font(pdf, _HEADING_PT[level], bold=True)
                # A heading never stands alone at the foot of a page.
                if pdf.will_page_break(25):
                    pdf.add_page()
                pdf.start_section(text, level - 1)
                _written(pdf, text)
            case Paragraph(text, strong):
                _font(pdf, _TEXT_PT, bold=strong)
                _written(pdf, text)
            case Note(text, lines):
                _note(pdf, "\n".join([text, *(f"- {line}" for line in lines)]))
            case Table():
                _table(pdf, block)
    return bytes(pdf.output())


def _empty(title: str, made_at: datetime) -> FPDF:
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from fpdf import FPDF  # noqa: PLC0415 - slow to import

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            _font(self, _TABLE_PT)
            self.cell(0, 6, f"{title}: page {self.page_no()} of {{nb}}", align="R")

    pdf = Pages(format="A4")
    # The fonts of every PDF reader can't write all names.
    fonts = Path(mpl.get_data_path()) / "fonts/ttf"
    for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        pdf.add_font(_FONT, style, fonts / file)
    pdf.set_margins(*_MARGINS_MM)
    pdf.set_auto_page_break(auto=True, margin=_MARGINS_MM[1])
    pdf.set_title(title)
    pdf.set_lang("en")
    pdf.set_creation_date(made_at.astimezone(UTC))
    pdf.set_draw_color(*_LINE)
    pdf.set_text_color(*_INK)
    pdf.add_page()
    return pdf


def _font(pdf: FPDF, size: int, *, bold: bool = False) -> None:
    pdf.set_font(_FONT, "B" if bold else "", size)


def _written(pdf: FPDF, text: str) -> None:
    pdf.multi_cell(0, text=text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(2)


def _note(pdf: FPDF, text: str) -> None:
    _font(pdf, _TEXT_PT)
    pdf.set_draw_color(*_COLOURS["unknown"])
    pdf.multi_cell(0, text=text, align="L", new_x="LMARGIN", new_y="NEXT", padding=(1, 3), border="L")
    pdf.set_draw_color(*_LINE)
    pdf.ln(2)


def _table(pdf: FPDF, table: Table) -> None:
    from fpdf.fonts import FontFace  # noqa: PLC0415 - slow to import

    if table.caption:
        _font(pdf, _TEXT_PT, bold=True)
        if pdf.will_page_break(25):
            pdf.add_page()
        _written(pdf, table.caption)
    _font(pdf, _TABLE_PT)
    align = ["RIGHT" if column.kind == "number" else "LEFT" for column in table.columns]
    with pdf.table(
        borders_layout="HORIZONTAL_LINES", col_widths=tuple(_WIDTHS[column.kind] for column in table.columns),
        text_align=tuple(align), line_height=4, padding=(1, 2),
    ) as made:  # fmt: skip
        made.row([column.title for column in table.columns])
        for number, texts in enumerate(table.rows):
            row = made.row()
            for column, text in zip(table.columns, texts, strict=True):
                coloured = column.kind == "verdict"
                row.cell(text, style=FontFace(color=_COLOURS[table.verdicts[number]]) if coloured else None)
    pdf.ln(3)
