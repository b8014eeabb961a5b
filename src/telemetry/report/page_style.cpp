#include "telemetry/report/page_style.h"

namespace switchyard::telemetry {

const char* const kPageStyle = R"css(
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b1f27;--soft:#5a6474;--line:#dde1e7;
--grid:#e8ebf0;--blue:#2463c9;--orange:#cc5a0a;--green:#1d8352;--band:#7d8798;--good:#1d8352;
--bad:#c02b3c;--over:#d9590f;--under:#2b78d4;--dead:#2a2f3a;--lum:44%}
@media(prefers-color-scheme:dark){:root{--page:#12151a;--card:#1b1f27;--ink:#e6e9ef;--soft:#9aa4b4;
--line:#303743;--grid:#2a303b;--blue:#6ea5f7;--orange:#f29446;--green:#57c48d;--band:#8b95a7;
--good:#57c48d;--bad:#f27a86;--over:#e8752b;--under:#4b94ea;--dead:#cfd5df;--lum:66%}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1240px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:26px;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:19px;margin:34px 0 12px}
.top{display:flex;flex-wrap:wrap;align-items:center;gap:6px 12px}
.pill{font-size:13px;font-weight:600;padding:1px 10px;border-radius:20px;border:1px solid currentColor}
.pill.done{color:var(--good)}.pill.part{color:var(--blue)}
.sub{color:var(--soft);margin:4px 0 0;overflow-wrap:anywhere}
.bar{height:5px;border-radius:3px;background:var(--line);margin:12px 0 0;overflow:hidden}
.bar i{display:block;height:100%;background:var(--blue)}
.summary{margin:18px 0;padding:14px 18px 14px 34px;background:var(--card);border:1px solid var(--line);
border-radius:10px}
.summary li{margin:2px 0}.summary .good::marker{color:var(--good)}.summary .bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px}
.tiles span,.tiles small{display:block;color:var(--soft);font-size:13px}
.tiles b{display:block;font-size:24px;line-height:1.25;font-weight:650}
.grid{display:flex;flex-wrap:wrap;gap:14px}
.grid>*{flex:1 1 280px;min-width:0}.grid>.wide,.grid>.heat{flex-basis:100%}
.pair{display:flex;flex-wrap:wrap;align-items:flex-start;gap:14px}.pair .bars{flex:1 1 280px}
.pair .heat{flex:2 1 340px;min-width:0}
figure{margin:0;padding:12px 16px 10px;background:var(--card);border:1px solid var(--line);
border-radius:10px;min-width:0}
figcaption{font-weight:600;line-height:1.35}
figcaption small{display:block;font-weight:400;color:var(--soft);font-size:13px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:13px;color:var(--soft);margin-top:4px}
.legend i{display:inline-block;width:16px;height:3px;border-radius:2px;margin-right:6px;
vertical-align:middle}
.legend .band-key{height:11px;opacity:.3}
.legend .mark-key{height:0;border-top:1px dashed var(--soft);border-radius:0}
.legend .cell{width:12px;height:12px;border:1px solid var(--line)}
.cell.dead{background:var(--dead)}.cell.over{background:var(--over)}
.cell.under{background:var(--under)}
.plot{position:relative;height:200px;margin:12px 12px 26px 46px;touch-action:pan-y}
.wide>.plot{height:260px}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.plot path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}
.plot .grid{stroke:var(--grid);stroke-width:1}
.plot .line{stroke-width:2}.plot .faint{stroke-width:1;opacity:.35}
.plot .dots{stroke-width:7}.plot .band{opacity:.2;stroke:none}
.plot .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 4}
.plot span{position:absolute;font-size:12px;line-height:1;color:var(--soft);white-space:nowrap}
.plot .y{right:100%;margin-right:7px;transform:translateY(50%)}
.plot .x{top:100%;margin-top:8px;transform:translateX(-50%)}
.none,.note{color:var(--soft)}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:10px}
.small{padding:8px 12px 4px}.small figcaption{font-size:13px}
.small .plot{height:74px;margin:8px 8px 22px 26px}
.small .line{stroke-width:1.75}
.heat .plot{margin:10px 4px 28px 62px;height:auto}
.heat .plot .y{bottom:auto;transform:translateY(-50%)}
.heat rect{stroke:var(--card);stroke-width:2;vector-effect:non-scaling-stroke}
.heat .over{fill:var(--over)}.heat .under{fill:var(--under)}.heat .share{fill:var(--blue)}
.heat .dead{fill:var(--dead)}.heat .even{fill:var(--grid)}
.heat .plot .v{transform:translate(-50%,-50%);pointer-events:none;color:var(--ink)}
.heat .plot .strong{color:var(--card);font-weight:600}
.bars .row{display:flex;align-items:flex-end;gap:6px;height:200px;padding:22px 4px 22px}
.bars .row div{flex:1 1 0;min-width:0;height:100%;display:flex;flex-direction:column;
justify-content:flex-end;position:relative;text-align:center}
.bars i{display:block;background:var(--blue);border-radius:3px 3px 0 0;min-height:1px;flex:none}
.bars span{font-size:12px;line-height:16px;color:var(--soft)}
.bars b{position:absolute;top:100%;left:0;right:0;font-size:12px;font-weight:400;margin-top:3px;
color:var(--soft)}
.bars .dense span{display:none}
pre{margin:0;padding:12px 16px;overflow:auto;max-height:520px;background:var(--card);
border:1px solid var(--line);border-radius:10px;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
pre.text{white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:0 0 10px}summary{cursor:pointer;padding:4px 0;font-weight:600}
table{border-collapse:collapse;font-size:14px}td{padding:2px 16px 2px 0;vertical-align:top;
overflow-wrap:anywhere}td:first-child{color:var(--soft)}
.notes li{white-space:pre-line}
.notes{padding:10px 18px 10px 34px;border:1px solid var(--bad);border-radius:10px;
overflow-wrap:anywhere}
.tip{position:absolute;z-index:2;top:0;pointer-events:none;background:var(--card);color:var(--ink);
border:1px solid var(--line);border-radius:6px;padding:5px 9px;font-size:12px;line-height:1.45;
white-space:nowrap;box-shadow:0 2px 8px #0003}
.tip i{display:inline-block;width:8px;height:8px;border-radius:4px;margin-right:6px}
.rule{position:absolute;top:0;bottom:0;width:1px;background:var(--soft);pointer-events:none}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media(max-width:640px){main{padding:16px 10px 40px}figure{padding:10px 10px 6px}
.summary{padding:12px 12px 12px 28px}.wide>.plot{height:210px}
.multiples{grid-template-columns:1fr 1fr}.dense .v{display:none}.tiles b{font-size:21px}
.tiles{grid-template-columns:1fr 1fr}.plot{margin-right:8px;margin-left:42px}
.heat .plot{margin-left:54px}}
)css";

const char* const kPageScript = R"js(
for (const figure of document.querySelectorAll('figure[data-plot]')) {
  const data = JSON.parse(figure.dataset.plot), plot = figure.querySelector('.plot');
  let x = null;
  for (const series of data.series) x = series.x = series.x || x;
  const rule = document.createElement('div'), tip = document.createElement('div');
  rule.className = 'rule'; tip.className = 'tip';
  const show = value => data.percent ? (value * 100).toPrecision(3) + '%'
    : Math.abs(value) >= 1e4 ? Math.round(value).toLocaleString('en') : String(+value.toPrecision(4));
  plot.addEventListener('pointermove', event => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const at = data.lo + share * (data.hi - data.lo);
    let near = null;
    const rows = data.series.map(series => {
      let best = -1;
      series.x.forEach((step, i) => {
        if (series.y[i] !== null &&
            (best < 0 || Math.abs(step - at) < Math.abs(series.x[best] - at))) best = i;
      });
      if (best >= 0 && (near === null || Math.abs(series.x[best] - at) < Math.abs(near - at)))
        near = series.x[best];
      return {series, best};
    });
    if (near === null) return;
    tip.replaceChildren(data.names ? data.names[near] : 'step ' + near);
    const reach = (data.hi - data.lo) * 0.04;
    rows.filter(row => row.best >= 0 && Math.abs(row.series.x[row.best] - near) <= reach)
      .slice(0, 12).forEach(row => {
        const line = document.createElement('div'), dot = document.createElement('i');
        dot.style.background = row.series.color;
        line.append(dot, row.series.name + ' ' + show(row.series.y[row.best]));
        tip.append(line);
      });
    const left = (near - data.lo) / (data.hi - data.lo) * box.width;
    rule.style.left = left + 'px';
    const right = left > box.width / 2;
    tip.style.left = right ? 'auto' : left + 10 + 'px';
    tip.style.right = right ? box.width - left + 10 + 'px' : 'auto';
    plot.append(rule, tip);
  });
  plot.addEventListener('pointerleave', () => { rule.remove(); tip.remove(); });
}
)js";

}  // namespace switchyard::telemetry
