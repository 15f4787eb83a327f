"""The style sheet of the HTML report: light and dark by the reader's preference, and a print form."""

from typing import Final

CSS: Final = """
:root{--paper:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d5dae0;--faint:#eef0f3;--code:#f5f6f8;
--accent:#1f5fa8;--good:#1a7041;--goodbg:#e4f3ea;--bad:#b3261e;--badbg:#fbe9e7;--warn:#8a5a00;--warnbg:#fbf1dc;
--profile:#6b7580;--validation:#2468b4;--combination:#0b7d72;--exploitation:#b5620b;--confirmation:#7647b0;
--band:#dfe6ee;--spent:#5584b8;--reserved:#bcd2ea}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e4e7eb;--soft:#9da7b3;--line:#39424d;--faint:#222830;
--code:#1c2229;--accent:#79b0ee;--good:#6fd39a;--goodbg:#173325;--bad:#ff8a80;--badbg:#3d1c1a;--warn:#e9bd6a;
--warnbg:#372b12;--profile:#98a3af;--validation:#6aa9ee;--combination:#4fc4b6;--exploitation:#eba050;
--confirmation:#bc96ea;--band:#29323d;--spent:#3f6fa5;--reserved:#2a4260}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 -apple-system,"Segoe UI",Roboto,Inter,
"Helvetica Neue",Arial,"Liberation Sans",system-ui,sans-serif;font-variant-numeric:tabular-nums lining-nums}
main{max-width:960px;margin:0 auto;padding:40px 24px 64px}
h1,h2,h3{line-height:1.2;font-weight:650;text-wrap:balance}
h1{font-size:2.4rem;letter-spacing:-.018em;margin:.35rem 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:3.2rem 0 .8rem;padding-top:.7rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.7rem 0 .4rem}
p{margin:.5rem 0;max-width:46rem;overflow-wrap:anywhere}
a{color:var(--accent)}
a:focus-visible,[tabindex]:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.kicker{color:var(--soft);font-size:.85rem;letter-spacing:.02em;margin:0 0 1.5rem}
.stamp{display:inline-block;margin:0;padding:.12rem .6rem;border-radius:3px;font-weight:650;font-size:.85rem;
background:var(--faint);color:var(--ink)}
.stamp.good{background:var(--goodbg);color:var(--good)}
.stamp.bad{background:var(--badbg);color:var(--bad)}
.stamp.open{background:var(--warnbg);color:var(--warn)}
.lead{font-size:1.15rem;margin:.2rem 0 .9rem}
.lede{color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:1px;margin:1.8rem 0 0;
background:var(--line);border:1px solid var(--line);border-radius:6px;overflow:hidden}
.tiles div{flex:1 1 150px;background:var(--paper);padding:.7rem .9rem;display:flex;
flex-direction:column-reverse;justify-content:flex-end}
.tiles dt{color:var(--soft);font-size:.82rem}
.tiles dd{margin:0;font-size:1.2rem;font-weight:600}
nav{margin:1.6rem 0 0}
nav ol{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:0;padding:0;font-size:.88rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:.8rem 0;font-size:.9rem;line-height:1.45}
th,td{padding:.42rem .7rem;vertical-align:top;border-bottom:1px solid var(--faint);text-align:left}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:0}
thead th{border-bottom:1px solid var(--ink);font-weight:600;font-size:.82rem;color:var(--soft);vertical-align:bottom}
th.r,td.r{text-align:right}
table.last tbody tr:last-child td{border-top:1px solid var(--line);border-bottom:0;white-space:nowrap}
table.pairs{width:auto}
table.pairs th{color:var(--soft);font-weight:500;white-space:nowrap;padding-right:1.6rem}
table.pairs code{overflow-wrap:anywhere}
table.hypotheses{min-width:760px;font-size:.87rem}
table.hypotheses td:nth-child(2){width:44%}
table.hypotheses td:nth-child(3){padding-top:.3rem;white-space:nowrap}
table.hypotheses td:nth-child(4){white-space:nowrap}
table.hypotheses td:nth-child(5){min-width:130px}
.soft{color:var(--soft)}
td{overflow-wrap:break-word}
.nowrap{white-space:nowrap}
.sources{margin:.3rem 0 0;padding:0;list-style:none;color:var(--soft);font-size:.8rem}
.pair{display:grid;grid-template-columns:1.35fr 1fr;gap:0 2.5rem;align-items:start}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
td code{overflow-wrap:anywhere}
pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;overflow-x:auto;
line-height:1.5;font-size:.85rem}
pre code{font-size:1em}
.state{font-weight:600}
.s-supported{color:var(--good)}
.s-refuted,.s-failed{color:var(--bad)}
.s-inconclusive,.s-vetoed{color:var(--warn)}
figure{margin:1.2rem 0 0}
figcaption,.caption{color:var(--soft);font-size:.85rem;max-width:46rem;margin:.4rem 0 0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.5rem 0 0;padding:0;font-size:.82rem}
.legend li{display:flex;align-items:center;gap:.4rem}
details summary{cursor:pointer;color:var(--accent)}
footer{margin-top:3.5rem;padding-top:.8rem;border-top:1px solid var(--line);color:var(--soft);font-size:.82rem}
svg{display:block;max-width:100%;height:auto;font-size:12.5px}
figure svg[role=img]{min-width:640px}
td svg{min-width:150px}
figure svg[width="506"],figure svg[width="520"]{min-width:0}
svg text{fill:var(--ink)}
svg .tick,svg .axis,svg .note{fill:var(--soft)}
svg .mid{text-anchor:middle}
svg .end{text-anchor:end}
svg .lab{font-weight:600;paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg .grid{stroke:var(--faint)}
svg .zero{stroke:var(--soft);stroke-width:1.2}
svg .limit{stroke:var(--good);stroke-width:1.3;stroke-dasharray:5 4}
svg .band{fill:var(--band)}
svg .best{fill:none;stroke:var(--ink);stroke-width:1.6}
svg .whisker{stroke-width:2.4}
svg .whisker.first{stroke:var(--accent)}
svg .whisker.second{stroke:var(--profile);stroke-width:1.8}
svg .dot.first{fill:var(--accent)}
svg .dot.second{fill:var(--profile)}
svg .prior{fill:var(--line)}
svg .spent{fill:var(--spent)}
svg .reserved{fill:var(--reserved)}
svg .approved{fill:none;stroke:var(--ink);stroke-width:1.6}
svg .warn{fill:none;stroke:var(--warn);stroke-width:1.3;stroke-dasharray:2 4}
svg .p-profile,svg .p-baseline,svg .p-reveal,svg .p-done{fill:var(--profile);stroke:var(--profile)}
svg .p-validation{fill:var(--validation);stroke:var(--validation)}
svg .p-combination{fill:var(--combination);stroke:var(--combination)}
svg .p-exploitation{fill:var(--exploitation);stroke:var(--exploitation)}
svg .p-confirmation{fill:var(--confirmation);stroke:var(--confirmation)}
svg .p-pruned{fill:var(--profile);stroke:var(--profile);stroke-width:1.5}
svg .p-failed,svg .stroke{fill:none;stroke-width:2}
svg .p-failed{stroke:var(--bad)}
svg circle,svg polygon{stroke:var(--paper);stroke-width:.8}
svg rect{stroke:none}
svg .hollow{fill:none}
svg circle.hollow{stroke:var(--profile);stroke-width:1.5}
svg rect.hollow{fill:var(--paper);stroke:currentColor;stroke-dasharray:3 2}
svg rect.bad{fill:none;stroke:var(--bad);stroke-width:2}
@media (max-width:640px){main{padding:24px 16px 48px}h1{font-size:1.75rem}.pair{grid-template-columns:1fr}

table.hypotheses{min-width:0}table.hypotheses thead{display:none}
table.hypotheses tr{display:block;padding:.7rem 0;border-bottom:1px solid var(--line)}
table.hypotheses td{display:block;width:auto!important;padding:.12rem 0;border:0;text-align:left}
figure svg[width="520"]{font-size:16px}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--faint:#e4e4e4;--code:#f6f6f6;--accent:#1f5fa8;
--good:#1a7041;--goodbg:#fff;--bad:#b3261e;--badbg:#fff;--warn:#8a5a00;--warnbg:#fff;--profile:#6b7580;
--validation:#2468b4;--combination:#0b7d72;--exploitation:#b5620b;--confirmation:#7647b0;--band:#e6eaf0;
--spent:#5584b8;--reserved:#bcd2ea}
body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}.scroll{overflow:visible}
figure,tr,.tiles{break-inside:avoid}h2,h3{break-after:avoid}table.hypotheses{min-width:0;font-size:8pt}
.sources{font-size:7pt}
figure svg[role=img]{min-width:0}pre{white-space:pre-wrap}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
""".strip()
