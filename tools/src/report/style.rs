//! What the page looks like. Colours are the charts' own (`chart::page_style`).

pub(super) const PAGE: &str = "
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 Roboto, system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 48px 24px 80px; }
h1 { font-size: 34px; line-height: 1.2; font-weight: 500; letter-spacing: -0.01em; margin: 0 0 8px; }
h2 { font-size: 23px; line-height: 1.3; font-weight: 500; margin: 64px 0 4px; }
h3 { font-size: 17px; font-weight: 500; margin: 28px 0 2px; }
p { margin: 0 0 10px; max-width: 860px; }
.lede, .note, figcaption { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 16px; margin: 32px 0 0; }
.tile { border: 1px solid var(--grid); border-radius: 12px; padding: 16px 18px; }
.tile .what { color: var(--soft); font-size: 14px; }
.tile .value { font-size: 28px; line-height: 1.25; font-weight: 500; letter-spacing: -0.01em; }
.tile .value small { font-size: 15px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.tile .who { font-size: 15px; overflow-wrap: anywhere; }
.warnings { border-left: 4px solid var(--alert); margin: 32px 0 0; padding: 4px 0 4px 18px; }
.warnings h2 { font-size: 17px; margin: 0 0 4px; color: var(--alert); }
.warnings ul { margin: 0; padding-left: 18px; }
.warnings li { overflow-wrap: anywhere; }
figure { margin: 0 0 28px; }
figcaption { margin: 0 0 10px; max-width: 860px; }
svg.chart { display: block; width: 100%; height: auto; max-width: 952px; }
details { margin: 4px 0 0; }
summary { cursor: pointer; color: var(--soft); font-size: 14px; width: max-content; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 14px; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { font-weight: 500; color: var(--soft); }
th:first-child, td:first-child, td.word, th.word { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
pre { font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--soft); margin: 10px 0; }
.left-out { padding-left: 18px; }
footer { margin-top: 64px; border-top: 1px solid var(--grid); padding-top: 20px; color: var(--soft); font-size: 14px; }
@media (max-width: 640px) {
  main { padding: 28px 16px 48px; }
  h1 { font-size: 27px; }
  figure .scroll-chart { overflow-x: auto; }
  svg.chart { min-width: 640px; }
}
@media print {
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 28px; }
  h2, h3, figcaption { break-after: avoid; }
  figure, .tile, tr { break-inside: avoid; }
  figure details { display: none; }
  @page { margin: 16mm; }
}
";
