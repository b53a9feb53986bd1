"""The looks of :mod:`ssd_jax.page`: one style sheet for screens of any width, light and dark, and paper."""

from ssd_jax.page.style_widgets import RULES

# Text on its background has a contrast of at least 4.5, bars and borders that mean something of at least 3 (WCAG 2.2,
# AA); tests/test_page.py computes it from these values.
LIGHT = {
    "paper": "#fbfbf9",
    "raised": "#ffffff",
    "ink": "#1d2430",
    "faint": "#586274",
    "line": "#e2e3df",
    "edge": "#7b8494",
    "accent": "#0b67b2",
    "bar": "#3585c8",
    "track": "#eceeee",
    "good": "#17703a",
    "warning": "#8a5200",
    "bad": "#b3261e",
    "good-paper": "#edf7f0",
    "warning-paper": "#fdf5e6",
    "bad-paper": "#fdefed",
    "note-paper": "#eef4fa",
    "curve0": "#0b67b2",
    "curve1": "#b85500",
    "curve2": "#17803d",
    "curve3": "#8140b8",
    "curve4": "#c0282d",
    "curve5": "#007b82",
    "curve6": "#b02a79",
    "curve7": "#6f6140",
}
DARK = {
    "paper": "#14181f",
    "raised": "#1b212a",
    "ink": "#e8eaee",
    "faint": "#a4adbb",
    "line": "#313945",
    "edge": "#727c8b",
    "accent": "#7cbcf5",
    "bar": "#4d9bdc",
    "track": "#272e39",
    "good": "#7fd59f",
    "warning": "#f0bf6c",
    "bad": "#ff9b90",
    "good-paper": "#16271d",
    "warning-paper": "#2b2416",
    "bad-paper": "#321d1c",
    "note-paper": "#182635",
    "curve0": "#6db3f2",
    "curve1": "#f0a04b",
    "curve2": "#6fcf8e",
    "curve3": "#c39bf0",
    "curve4": "#ff8a80",
    "curve5": "#4fd0d3",
    "curve6": "#f28cc4",
    "curve7": "#cdbf95",
}

NUM_CURVES = 8  # colors of curves: "curve0", ...

_RULES = """
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--paper);color:var(--ink);
 font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:1rem;z-index:2;background:var(--raised);padding:.5rem 1rem;border-radius:.4rem}
.frame{max-width:84rem;margin:0 auto;padding:0 clamp(1rem,3vw,2.5rem) 4rem}
body>.frame>header{padding:clamp(1.5rem,4vw,3rem) 0 1rem}
h1{font-size:clamp(1.6rem,1.2rem + 1.8vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:0;
 overflow-wrap:anywhere}
.subtitle{color:var(--faint);margin:.5rem 0 0;max-width:70ch;overflow-wrap:anywhere}
.columns{display:grid;grid-template-columns:minmax(0,1fr);gap:0 3rem}
nav{font-size:.92rem;margin:.5rem 0 1rem}
nav h2{font-size:.75rem;text-transform:uppercase;letter-spacing:.08em;color:var(--faint);margin:0 0 .4rem;
 border:0;padding:0}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}
nav a{color:var(--accent);text-decoration:none;display:inline-block;padding:.2rem 0}
a{color:var(--accent)}
a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:.2rem}
@media(min-width:72rem){
 .columns.with-nav{grid-template-columns:11.5rem minmax(0,1fr)}
 .columns.with-nav nav{position:sticky;top:1.5rem;align-self:start;max-height:calc(100vh - 3rem);overflow:auto}
 nav ul{flex-direction:column;gap:.1rem}
}
section{margin:0 0 3rem}
section section{margin:2rem 0 0}
h2{font-size:1.35rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .8rem;padding-top:1rem;
 border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:0 0 .6rem}
p{max-width:75ch;margin:0 0 .9rem;overflow-wrap:anywhere}
.faint{color:var(--faint)}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}
pre{background:var(--raised);border:1px solid var(--line);border-radius:.5rem;padding:.9rem 1rem;overflow-x:auto;
 line-height:1.5;margin:0 0 1rem}
.callout{border-left:.35rem solid var(--accent);background:var(--note-paper);border-radius:.5rem;
 padding:1rem 1.25rem;margin:0 0 1.5rem}
.callout>:last-child{margin-bottom:0}
.callout .title{font-size:1.1rem;font-weight:650;margin:0 0 .4rem}
.callout .title:last-child{margin:0}
.callout ul{margin:.3rem 0 0;padding-left:1.2rem}
li{overflow-wrap:anywhere}
.callout.good{border-color:var(--good);background:var(--good-paper)}
.callout.good .title{color:var(--good)}
.callout.warning{border-color:var(--warning);background:var(--warning-paper)}
.callout.warning .title{color:var(--warning)}
.callout.bad{border-color:var(--bad);background:var(--bad-paper)}
.callout.bad .title{color:var(--bad)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,9.2rem),1fr));gap:.7rem;margin:0 0 1.5rem}
.facts>div{background:var(--raised);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
.facts dt{color:var(--faint);font-size:.82rem}
.facts dd{margin:.1rem 0 0;font-size:1.3rem;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums;
 overflow-wrap:anywhere}
.facts dd small{display:block;font-size:.8rem;font-weight:400;color:var(--faint)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.5rem 2.5rem}
.pair>*{min-width:0}
.scroll{overflow-x:auto;margin:0 0 1.5rem}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 .5rem}
caption small{display:block;font-weight:400;color:var(--faint)}
th,td{text-align:left;vertical-align:baseline;padding:.34rem .8rem .34rem 0;border-bottom:1px solid var(--line)}
thead th{font-size:.8rem;color:var(--faint);font-weight:600;vertical-align:bottom}
tbody th{font-weight:500;overflow-wrap:anywhere;min-width:7.5rem}
tfoot th,tfoot td{font-weight:650;border-bottom:0}
.number{text-align:right;white-space:nowrap;padding-right:1rem}
td.with-bar{width:calc(50%/var(--bars,1));min-width:7rem;padding-right:1.2rem}
.bar{display:flex;align-items:center;gap:.6rem}
.bar .track{flex:1;height:.7rem;border-radius:.35rem;background:var(--track);overflow:hidden;min-width:2.5rem}
.bar .fill{display:block;height:100%;width:var(--share);min-width:var(--least,0);background:var(--bar);
 border-radius:.35rem}
.bar .value{min-width:3.4rem;text-align:right;white-space:nowrap}
.bar.good .fill{background:var(--good)}
.bar.warning .fill{background:var(--warning)}
.bar.bad .fill{background:var(--bad)}
.named{display:flex;min-width:8rem;align-items:center;gap:.5rem}
.swatch{flex:none;width:.75rem;height:.75rem;border-radius:.2rem;border:1px solid var(--faint)}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.tag{font-size:.78rem;border-radius:1rem;padding:.1rem .6rem;white-space:nowrap;color:var(--accent);
 background:var(--note-paper)}
.tag.good{color:var(--good);background:var(--good-paper)}
.tag.warning{color:var(--warning);background:var(--warning-paper)}
.tag.bad{color:var(--bad);background:var(--bad-paper)}
details{border:1px solid var(--line);border-radius:.5rem;background:var(--raised);margin:0 0 .7rem}
summary{cursor:pointer;padding:.65rem .9rem;overflow-wrap:anywhere}
summary b{font-variant-numeric:tabular-nums}
details>.inner{padding:0 .9rem;max-height:26rem;overflow:auto;border-top:1px solid var(--line)}
details .scroll{margin:0 0 .6rem}
summary .tag{float:right;margin-left:1rem}
details thead th{position:sticky;top:0;background:var(--raised)}
figure{margin:0 0 1.5rem}
figure img,figure svg{display:block;max-width:100%;height:auto;border-radius:.5rem}
figure img{border:1px solid var(--line);background:#fff}
figure .scroll{margin:0}
figure .scroll img{max-width:none;width:max(100%,var(--least,0px))}
figcaption{color:var(--faint);font-size:.9rem;margin-top:.5rem;max-width:80ch}
svg text{fill:var(--faint);font-size:12px;font-family:inherit}
svg .mark{fill:var(--bar)}
svg .cross{stroke:var(--ink);stroke-width:1.6;fill:none}
svg .axis{stroke:var(--faint);stroke-width:1}
svg .plot{fill:var(--raised);stroke:var(--line)}
svg.curves{width:100%;overflow:visible}
@media(max-width:40rem){svg.curves text{font-size:14px}}
svg .rule{stroke:var(--line);stroke-width:1}
svg .curve{fill:none;stroke:var(--color);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round;
 stroke-dasharray:var(--dash)}
svg .second{stroke-width:1}
svg .band{fill:var(--color);opacity:.22}
svg .dot{fill:var(--color)}
.legend{list-style:none;margin:.4rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
.keyed{display:inline-flex;align-items:center;gap:.5rem;overflow-wrap:break-word;min-width:0}
.keyed span{min-width:0}
.key{flex:none;width:1.6rem;border-top:.2rem solid var(--color)}
.key.dash1{border-top-style:dashed}
.key.dash2{border-top-style:dotted}
footer{color:var(--faint);font-size:.85rem;border-top:1px solid var(--line);padding-top:1rem}
@media print{
 nav,.skip{display:none}
 .columns.with-nav{display:block}
 figure,tr,.callout,.facts>div{break-inside:avoid-page}
 h2,h3,.tools,.gallery-caption{break-after:avoid-page}
 .bar,.bar *,.swatch,.tag{print-color-adjust:exact;-webkit-print-color-adjust:exact}
 details>.inner,.scroll{max-height:none;overflow:visible}
}
"""


def style_sheet() -> str:
    """Returns the CSS of a page."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in colors.items()) for colors in (LIGHT, DARK))
    themes = f":root{{color-scheme:light dark;{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    # Paper is white, whatever the screen is.
    paper = f"@media print{{:root{{color-scheme:light;{light}}}}}"
    curves = "".join(f".color{k}{{--color:var(--curve{k})}}" for k in range(NUM_CURVES))
    dashes = ".dash0{--dash:none}.dash1{--dash:7 5}.dash2{--dash:1 5}"
    return f"{themes}\n{paper}\n{_RULES.strip()}\n{RULES.strip()}\n{curves}\n{dashes}\n"
