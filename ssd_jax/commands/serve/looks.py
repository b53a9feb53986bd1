"""The looks of what the page has beyond the reports; part of :mod:`ssd_jax.commands.serve.page`."""

RULES = """
.entry{margin:0 0 1.5rem}
.entry h2{border:0;padding:0;font-size:1rem;margin:1.2rem 0 .5rem}
.entry p{margin:.5rem 0 0;font-size:.92rem;max-width:none}
.entry .status:empty{display:none}
.drop{position:relative;display:flex;align-items:center;justify-content:center;text-align:center;min-height:9rem;
 padding:1.2rem;border:2px dashed var(--edge);border-radius:.9rem;background:var(--raised);cursor:pointer}
.drop>span{display:grid;gap:.2rem;color:var(--faint)}
.drop b{color:var(--accent);font-size:1.25rem;font-weight:650}
.drop:hover,.over .drop{border-color:var(--accent);background:var(--note-paper)}
.over .drop{border-style:solid}
.drop:focus-within{outline:2px solid var(--accent);outline-offset:3px}
.offered{min-width:0}
.examples{list-style:none;margin:0 -.3rem;padding:.3rem;display:flex;gap:.6rem;overflow-x:auto}
.examples li{flex:none}
.examples button{padding:0;border-radius:.55rem;overflow:hidden;display:block}
.examples img{display:block;height:5.5rem;width:auto;max-width:10rem;object-fit:cover}
.filled .frame>header{padding:1.2rem 0 .8rem}
.filled .entry{margin:0 0 .5rem}
.filled .entry h2,.filled #limits{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);margin:0}
.filled .drop{min-height:4rem;padding:.5rem 1rem}
.filled .drop b{font-size:1.1rem}
.filled .examples img{height:3.6rem}
@media(min-width:60rem){
 .filled .ways:has(.offered){display:grid;gap:1rem;align-items:center;
  grid-template-columns:minmax(20rem,1fr) minmax(0,auto)}
}
.controls{position:sticky;top:0;z-index:5;margin:0 -.8rem 1.2rem;padding:.7rem .8rem .5rem;background:var(--paper);
 border-bottom:1px solid var(--line);display:grid;gap:.45rem;grid-template-columns:minmax(0,1fr)}
.controls label{display:flex;align-items:center;gap:.8rem;font-weight:600;white-space:nowrap}
.controls button{min-height:2.1rem;padding:.15rem .7rem;font-size:.92rem}
input[type=range]{flex:1;min-width:5rem;padding:0;accent-color:var(--accent);border:0;background:none}
output{min-width:2.6rem;text-align:right;font-variant-numeric:tabular-nums}
.chips-row{display:flex;align-items:flex-start;justify-content:space-between;gap:.6rem}
.chips{display:flex;flex-wrap:wrap;gap:.35rem;max-height:6.9rem;overflow:auto;padding:2px;margin:-2px;min-width:0}
.chips-all{flex:none;display:flex;gap:.35rem}
.chip{display:inline-flex;align-items:center;gap:.4rem;border-radius:1.1rem;max-width:100%}
.chip span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.chip i{flex:none;width:.8rem;height:.8rem;border-radius:.2rem;background:var(--class);border:1px solid var(--ink)}
.chip b{font-variant-numeric:tabular-nums;font-weight:600}
.chip[aria-pressed=false]{color:var(--faint);border-style:dashed}
.chip[aria-pressed=false] span{text-decoration:line-through}
.chip[aria-pressed=false] i{background:none}
.sum-row{display:flex;align-items:center;justify-content:space-between;gap:.8rem}
.sum-row .status{margin:0}
.sum-row button{flex:none}
@media(min-width:60rem){
 .controls{grid-template-columns:minmax(0,1fr) auto;column-gap:2rem}
 .chips-row{grid-column:1/-1}
}
.results{display:grid;gap:1.5rem;margin:0 0 2rem}
.result{margin:0;background:var(--raised);border:1px solid var(--line);border-radius:.9rem;overflow:hidden;display:grid;
 grid-template-columns:minmax(0,1fr)}
@media(min-width:60rem){
 .result{grid-template-columns:minmax(0,1fr) 22rem}
 .result.failed:has(.unseen){grid-template-columns:minmax(0,1fr)}
}
.stage{background:var(--track);display:flex;align-items:center;justify-content:center;min-width:0;min-height:8rem}
.view{position:relative;flex:none;overflow:hidden;aspect-ratio:var(--ratio);
 width:min(100%,var(--widest),calc(max(18rem,100vh - 14rem)*var(--ratio)))}
.view img{position:absolute;inset:0;width:100%;height:100%;display:block}
.view.unseen img{visibility:hidden}
.failed .stage:has(.unseen){display:none}
.view.waiting img{opacity:.45}
.box{position:absolute;border:2px solid var(--class);border-radius:2px;pointer-events:none;
 box-shadow:0 0 0 1px rgb(0 0 0/.75),inset 0 0 0 1px rgb(0 0 0/.75)}
.label{position:absolute;left:0;top:0;max-width:100%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;
 font-size:.8rem;line-height:1.35;font-weight:600;padding:0 .35rem;border-radius:2px;background:var(--class);
 color:var(--text);box-shadow:0 0 0 1px rgb(0 0 0/.75);pointer-events:none;font-variant-numeric:tabular-nums}
.pinned .box:not(.on),.pinned .label:not(.on){opacity:.18}
.box.on{border-width:3px;z-index:2}
.label.on{z-index:3}
.label.crowded:not(.on){visibility:hidden}
.side{padding:1rem 1.1rem;min-width:0;display:flex;flex-direction:column;gap:.6rem}
.side h2{border:0;padding:0;margin:0;font-size:1.05rem;overflow-wrap:anywhere;flex:1}
.side header{display:flex;gap:.7rem;align-items:flex-start}
.side p{margin:0;font-size:.92rem}
.remove{flex:none;min-height:2rem;min-width:2rem;padding:0;line-height:1}
.callout{overflow-wrap:anywhere}
.side .callout{margin:0;padding:.6rem .9rem}
.found{list-style:none;margin:0;padding:2px;overflow:auto;max-height:21rem}
@media(min-width:60rem){.found{flex:1 1 8rem;max-height:none;height:0;min-height:9rem}}
.found button{display:grid;grid-template-columns:.9rem minmax(0,1fr) 5rem 2.6rem;align-items:center;gap:.55rem;
 width:100%;text-align:left;border-color:transparent;background:none;padding:.1rem .3rem;min-height:1.9rem;
 font-size:.92rem}
.found button:hover,.found button[aria-pressed=true]{background:var(--note-paper);border-color:var(--edge)}
.found i{width:.9rem;height:.9rem;border-radius:.2rem;background:var(--class);border:1px solid var(--ink)}
.found span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.found .share{height:.55rem;border-radius:.3rem;background:var(--track);overflow:hidden}
.found .share u{display:block;height:100%;background:var(--bar)}
.found b{text-align:right;font-weight:600;font-variant-numeric:tabular-nums}
.timings{display:grid;grid-template-columns:repeat(auto-fit,minmax(4.2rem,1fr));gap:.2rem .5rem;margin:0;
 padding:.6rem 0 0;border-top:1px solid var(--line);font-variant-numeric:tabular-nums}
.timings dt{color:var(--faint);font-size:.8rem}
.timings dd{margin:0;font-weight:600;font-size:.95rem}
main>details>.inner{padding:.9rem .9rem 0}
main>details pre{background:var(--paper)}
.class-names{max-width:none}
@media(max-width:40rem){
 .controls{margin:0 -1rem 1rem;padding:.6rem 1rem .5rem}
 .chips{flex-wrap:nowrap;overflow-x:auto}
 .chip{flex:none}
 .result{border-radius:.6rem}
}
@media(forced-colors:active){.box,.label,.chip i,.found i{forced-color-adjust:none}}
@media print{.entry,.controls,.remove,main>details{display:none}.result{break-inside:avoid-page}}
"""
