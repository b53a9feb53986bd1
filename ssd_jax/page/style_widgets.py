"""The looks of what a reader operates, and of the charts of an evaluation; part of :mod:`ssd_jax.page.style`."""

RULES = """
[hidden]{display:none!important}
button,select,input{font:inherit;color:var(--ink);background:var(--raised);border:1px solid var(--edge);
 border-radius:.45rem;min-height:2.5rem;padding:.3rem .8rem;max-width:100%}
button{cursor:pointer}
button:hover,select:hover{border-color:var(--accent)}
.tools{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem .7rem;margin:0 0 .9rem}
.tools label{display:inline-flex;flex-wrap:wrap;align-items:center;gap:.3rem .6rem;font-weight:600;min-width:0;
 max-width:100%}
.tools .status{margin:0}
.status{color:var(--faint);font-size:.92rem;font-variant-numeric:tabular-nums}
.sort{all:unset;box-sizing:border-box;cursor:pointer;min-height:1.75rem;display:inline-flex;align-items:flex-end;
 gap:.25rem}
.sort:hover{color:var(--accent);text-decoration:underline}
.sort:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:.2rem}
.arrow{flex:none;width:.8em;text-align:center}
.arrow::after{content:"\\2195";opacity:.75}
[aria-sort] .sort{color:var(--ink)}
[aria-sort] .arrow::after{opacity:1}
[aria-sort=ascending] .arrow::after{content:"\\2191"}
[aria-sort=descending] .arrow::after{content:"\\2193"}
.choice>details>.panel{padding:.9rem;border-top:1px solid var(--line)}
.choice.scripted>details{border:0;background:none}
.choice.scripted>details>summary{display:none}
.choice.scripted>details>.panel{padding:0;border:0}
.gallery-box{margin:0 0 2rem}
.gallery-caption{font-weight:600;margin:0 0 .5rem}
.gallery{list-style:none;margin:0;padding:0;display:grid;gap:1.2rem 1rem;
 grid-template-columns:repeat(auto-fill,minmax(max(10.4rem,21%),1fr))}
.gallery li{min-width:0}
.gallery figure{margin:0}
.gallery figcaption{margin-top:.35rem;font-size:.85rem;line-height:1.4;overflow-wrap:anywhere}
.gallery img{width:100%;height:clamp(8rem,14vw,11rem);object-fit:contain;background:var(--track)}
.open{display:block;width:100%;padding:0;border:0;background:none;border-radius:.5rem;cursor:zoom-in}
.open:hover img{border-color:var(--accent)}
.viewer{color:var(--ink);background:var(--paper);border:1px solid var(--edge);border-radius:.7rem;
 padding:clamp(.7rem,2vw,1.2rem);width:min(96vw,64rem);max-width:none;max-height:96vh;max-height:96dvh}
.viewer::backdrop{background:rgb(0 0 0/.65)}
.viewer figure{margin:0}
.viewer img{width:100%;height:auto;margin:auto;max-height:74vh;max-height:74dvh;object-fit:contain;
 background:var(--track)}
.viewer .status{flex:1;text-align:center;max-width:none}
svg .reference{fill:none;stroke:var(--faint);stroke-width:1.3;stroke-dasharray:6 4}
svg .share{fill:var(--color);fill-opacity:.34;stroke:var(--color);stroke-width:1}
svg .texture{fill:none;stroke:var(--color);stroke-width:1.2;stroke-opacity:.75}
svg .halo{fill:none;stroke:var(--raised);stroke-width:5;stroke-opacity:.85}
svg .overlay{fill:none;stroke:var(--ink);stroke-width:2.2}
svg .dashed{stroke-dasharray:7 4}
svg text.on{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--raised);stroke-width:4;
 stroke-linejoin:round}
.keyed .swatch-drawn{flex:none;width:1.625rem;height:1rem;border-radius:.15rem}
.multiples{display:grid;gap:.6rem 1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,10rem),1fr))}
figure .multiples svg{width:100%;max-width:16rem;overflow:visible}
svg text.heading{fill:var(--ink);font-weight:600;font-size:13px}
svg .joined{fill:none;stroke:var(--color);stroke-width:1.2;stroke-opacity:.6}
svg .marker{fill:var(--color)}
svg .whiskers{fill:none;stroke:var(--color);stroke-width:1.6}
svg .overall{fill:none;stroke:var(--color);stroke-width:1.6;stroke-dasharray:6 4}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media(forced-colors:active){svg .share{fill-opacity:.2}.arrow::after{opacity:1}}
@media print{
 .choice:not(.scripted)>details::details-content{content-visibility:visible;block-size:auto}
 .tools button,.tools label:has(input),.viewer,.arrow{display:none}
 .gallery{grid-template-columns:repeat(3,1fr)}
 .gallery li{break-inside:avoid-page}
}
"""
