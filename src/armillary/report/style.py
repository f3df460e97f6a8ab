"""How a report looks: one style sheet, and the colors that its style sheet and pictures share.

The colors are those of Okabe and Ito (2008), which color-blind readers can tell apart, darkened or lightened until
text in them is readable. No color is the only carrier of a meaning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colors:
    """Colors by what they are for: text, quiet text, hairlines, the run itself, floors, and ceilings."""

    ink: str
    quiet: str
    line: str
    accent: str
    untrained: str
    raw: str
    ceiling: str
    paper: str


LIGHT = Colors("#1b2130", "#5b6475", "#dde1e8", "#1f5fbf", "#c2570c", "#6b7280", "#00795c", "#ffffff")
DARK = Colors("#e8eaf0", "#9aa4b5", "#2d3442", "#7db2ff", "#f0a35e", "#9aa4b5", "#43c59e", "#10141c")

# Stand-ins that plots draw with; `themed` turns them into the page's variables, so that a plot follows the page.
THEMED = Colors("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06", "#0a0b07", "#0a0b08")


def themed(svg: str) -> str:
    """The drawing with stand-ins replaced by `var(--name)`."""
    for name, color in vars(THEMED).items():
        svg = svg.replace(color, f"var(--{name})")
    return svg


def _variables(colors: Colors) -> str:
    return "".join(f"--{name}:{color};" for name, color in vars(colors).items())


SHEET = f"""
:root{{color-scheme:light dark;{_variables(LIGHT)}--soft:#f5f7fa;
--healthy:#0b6b4f;--healthy-soft:#e2f4ec;--warning:#8a5300;--warning-soft:#fff1d6;--collapse:#b3261e;
--collapse-soft:#fde8e6;--unknown:#5b6475;--unknown-soft:#eef0f4;
--font:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Helvetica,Arial,sans-serif;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}}
@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}--soft:#181d28;
--healthy:#6fdcb4;--healthy-soft:#12362b;--warning:#ffc266;--warning-soft:#3d2c0c;--collapse:#ff9d94;
--collapse-soft:#451a17;--unknown:#9aa4b5;--unknown-soft:#232936}}}}
""" + (
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 var(--font);font-variant-numeric:tabular-nums}
main{max-width:980px;margin:0 auto;padding:64px 32px 96px}
.eyebrow{margin:0 0 14px;color:var(--quiet);font-size:14px}
.eyebrow svg{width:20px;height:20px;vertical-align:-4px;margin-right:8px;color:var(--accent)}
h1{font-size:38px;line-height:1.15;letter-spacing:-.02em;font-weight:680;margin:0;overflow-wrap:anywhere}
.title{display:flex;flex-wrap:wrap;align-items:center;gap:12px 20px}
.badge{display:inline-flex;align-items:center;gap:8px;padding:5px 14px 5px 11px;border-radius:18px;font-size:15px;
font-weight:600;line-height:1.4}
.badge svg{width:16px;height:16px;flex:none}
.badge path{stroke-linecap:round;stroke-linejoin:round}
.healthy{color:var(--healthy);background:var(--healthy-soft)}
.warning{color:var(--warning);background:var(--warning-soft)}
.collapse{color:var(--collapse);background:var(--collapse-soft)}
.unknown{color:var(--unknown);background:var(--unknown-soft)}
.lead{font-size:22px;line-height:1.5;letter-spacing:-.005em;margin:24px 0 0;max-width:44em;text-wrap:pretty}
.facts{display:grid;grid-template-columns:repeat(4,auto);justify-content:space-between;
gap:16px 32px;margin:32px 0 0;padding:20px 0 0;border-top:1px solid var(--line)}
.facts dt{color:var(--quiet);font-size:13px;line-height:1.4}
.facts dd{margin:0;font-size:15px;overflow-wrap:anywhere}
.note{margin:28px 0;padding:14px 20px;border-radius:10px;font-size:15px}
.note h3{margin:8px 0 4px}
.note p{margin:0;overflow-wrap:anywhere}
section{margin-top:72px}
h2{font-size:23px;line-height:1.3;letter-spacing:-.01em;font-weight:650;margin:0 0 6px}
.about{color:var(--quiet);font-size:15px;margin:0 0 24px;max-width:46em;text-wrap:pretty}
table{border-collapse:collapse;width:100%;font-size:15px;line-height:1.45}
th,td{text-align:left;vertical-align:top;padding:12px 24px 12px 0;border-bottom:1px solid var(--line);font-weight:400}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--quiet);font-size:13px;padding-top:0;padding-bottom:8px;white-space:nowrap}
tbody th{min-width:10em}
.value{font-size:18px;font-weight:650;line-height:1.2;white-space:nowrap}
.range{color:var(--quiet);white-space:nowrap}
.beside{display:grid;grid-template-columns:9.6em 4.6em auto;gap:2px 12px;justify-content:start}
.beside .range{font-size:14px}
.quiet{color:var(--quiet)}
.small{font-size:13px;line-height:1.45}
.bar{width:280px}
.bar svg{display:block;width:100%;height:auto;overflow:visible}
.legend{display:flex;flex-wrap:wrap;gap:6px 22px;margin:14px 0 0;padding:0;list-style:none;color:var(--quiet);
font-size:13px}
.legend svg{width:24px;height:14px;vertical-align:-2px;margin-right:7px}
.charts{display:grid;grid-template-columns:1fr 1fr;gap:36px 40px}
figure{margin:0;min-width:0}
figcaption{font-size:15px;font-weight:650;line-height:1.4;margin:0 0 8px}
figcaption .small{font-weight:400;color:var(--quiet)}
.now{color:var(--accent);margin-left:6px}
figure>svg{display:block;width:100%;height:auto}
.alone{display:grid;grid-template-columns:minmax(0,560px) minmax(0,1fr);gap:40px;align-items:start}
.alone p{margin:0 0 12px;font-size:15px}
.episodes{display:grid;grid-template-columns:repeat(var(--columns,3),1fr);gap:28px 24px}
.episodes img{display:block;width:100%;height:auto;border-radius:8px;}
.episodes figcaption{font-weight:400;font-size:14px;margin:8px 0 0}
.episodes figcaption span{display:block}
.episodes .goal{display:flex;gap:8px;align-items:center;color:var(--quiet);font-size:13px;margin-top:8px}
.episodes .goal img{width:48px;border-radius:4px}
.yes{color:var(--healthy);font-weight:600;white-space:nowrap}
.no{color:var(--collapse);font-weight:600;white-space:nowrap}
.still{display:none!important}
h3{font-size:15px;font-weight:650;margin:28px 0 4px}
dl.pairs{display:grid;grid-template-columns:minmax(120px,max-content) minmax(0,1fr);gap:5px 28px;margin:0;
font-size:14px}
.pairs dt{color:var(--quiet);overflow-wrap:anywhere}
.pairs dd{margin:0;overflow-wrap:anywhere}
.harness{background:var(--soft);border-radius:12px;padding:22px 26px 24px;margin-top:32px}
.harness h3{margin-top:0;margin-bottom:10px}
.code{font-family:var(--mono);font-size:13px;overflow-wrap:anywhere}
details{border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:14px 0;font-weight:600;font-size:15px}
summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}
details dl.pairs{padding:0 0 18px}
details h3{margin:10px 0 6px}
footer{margin-top:72px;padding-top:20px;border-top:1px solid var(--line);color:var(--quiet);font-size:13px}
"""
    # Narrow screens: rows of tables become blocks, charts stand below each other.
    """
@media screen and (max-width:760px){
main{padding:36px 20px 64px}
h1{font-size:30px}
.lead{font-size:19px}
.facts{grid-template-columns:1fr 1fr;justify-content:stretch}
section{margin-top:56px}
.charts,.alone{grid-template-columns:1fr;gap:32px}
.episodes{grid-template-columns:repeat(2,1fr);gap:24px 16px}
.stack thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.stack tr{display:block;padding:14px 0;border-bottom:1px solid var(--line)}
.stack th,.stack td{display:block;padding:2px 0;border:0}
.stack td:empty,.stack br{display:none}
.stack .range{margin-left:8px}
.beside .range{margin:0}
.stack td[data-label]::before{content:attr(data-label) " ";color:var(--quiet);font-size:13px}
.stack td:has(.bar)::before{content:none}
.bar{width:auto}
dl.pairs{grid-template-columns:minmax(72px,max-content) minmax(0,1fr);gap:5px 20px}
dl.pairs:has(.code){grid-template-columns:1fr;gap:0}
dl.pairs .code+dd{margin-bottom:8px}
.harness{padding:18px 20px}
}
@media (prefers-reduced-motion:reduce){.moving{display:none!important}.still{display:block!important}}
@media print{
@page{margin:16mm}
main{max-width:none;padding:0;zoom:.7}
section{margin-top:48px}
h2,.about{break-after:avoid}
figure,tr,.harness,.note{break-inside:avoid}
details::details-content{content-visibility:visible;display:block;height:auto}
.badge,.note,.harness{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.moving{display:none!important}.still{display:block!important}
}
"""
)
