import { BarChart, CustomChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { isOurs, type Figure } from './result.ts';
import { groupBy, median, wrapped } from './table.ts';

/**
 * Plots as SVG text, drawn here and not in the reader's browser: the page needs no script and no network. Colours are
 * variables of the page, so that a plot is light where the page is light and dark where it is dark.
 */
use([BarChart, CustomChart, LineChart, GridComponent, LegendComponent, SVGRenderer]);

const WIDTH = 920;
const BAR_HEIGHT = 26;
const LINES_HEIGHT = 300;
const NAMES_WIDTH = 400;
/** As many as fit into that in the widest of the usual fonts. */
const NAME_CHARACTERS = 52;
/** Numbers from here on are written short. */
const COMPACT_FROM = 10_000;
/** Behind the longest bar, for its value. */
const VALUE_WIDTH = 70;
/** A larger factor between the largest and the smallest value needs a logarithmic axis. */
const LINEAR_FACTOR_MAX = 8;

/** Colours that the plots are drawn with, and what stands in the page for them. */
const COLOURS = {
  text: '#010101',
  faint: '#020202',
  ours: '#030303',
  peer: '#040404',
  floor: '#050505',
  range: '#060606',
} as const;

const LINE_COLOURS = [COLOURS.ours, COLOURS.peer, COLOURS.floor, COLOURS.range];

function draw(height: number, option: object): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    textStyle: { fontFamily: 'system-ui, sans-serif', color: COLOURS.text },
    ...option,
  });
  // Its styles are about what a mouse is over; nothing here answers to one.
  let svg = chart.renderToSVGString().replaceAll(/<style[^]*?<\/style>/g, '');
  chart.dispose();
  for (const [name, colour] of Object.entries(COLOURS)) svg = svg.replaceAll(colour, `var(--${name})`);
  // As wide as its place is. What it shows stands in the label of the figure around it and in a table.
  return svg.replace(
    /^<svg [^>]*>/,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" aria-hidden="true">`,
  );
}

const axisLabel = { color: COLOURS.text };
const splitLine = { lineStyle: { color: COLOURS.faint } };

/** One bar a figure: the median, and a line over the range of the rounds. */
export function barPlot(figures: readonly Figure[], unit: string): string {
  // The first one stands on top.
  const rows = [...figures].reverse();
  const common = inCommon(figures);
  const names = rows.map((figure) =>
    wrapped(
      partsOf(figure)
        .filter((part) => !common.includes(part))
        .join(': '),
      NAME_CHARACTERS,
      '',
    ),
  );
  return draw(rows.length * BAR_HEIGHT + 60, {
    grid: { left: NAMES_WIDTH + 10, right: VALUE_WIDTH, top: 10, bottom: 40 },
    xAxis: {
      type: 'value',
      name: unit,
      nameLocation: 'middle',
      nameGap: 26,
      nameTextStyle: axisLabel,
      axisLabel: { ...axisLabel, formatter: compactNumber },
      splitLine,
    },
    yAxis: {
      type: 'category',
      data: names,
      axisLabel: { ...axisLabel, width: NAMES_WIDTH, lineHeight: 12 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: COLOURS.faint } },
    },
    series: [
      {
        type: 'bar',
        clip: false,
        silent: true,
        barWidth: '60%',
        data: rows.map(({ who, values }) => ({
          value: median(values),
          itemStyle: { color: COLOURS[barColour(who)] },
        })),
      },
      {
        type: 'custom',
        clip: false,
        silent: true,
        z: 5,
        data: rows.map(({ values }, row) => [Math.min(...values), row, Math.max(...values)]),
        encode: { x: [0, 2], y: 1 },
        // The line over the range, and the value behind it.
        renderItem: ({ dataIndex }: { readonly dataIndex: number }, api: CustomApi) => {
          const [x1, y] = api.coord([api.value(0), api.value(1)]);
          const [x2] = api.coord([api.value(2), api.value(1)]);
          const text = compactNumber(median(rows[dataIndex]!.values));
          return {
            type: 'group',
            children: [
              {
                type: 'line',
                shape: { x1, y1: y, x2, y2: y },
                style: { stroke: COLOURS.range, lineWidth: 2 },
              },
              {
                type: 'text',
                style: { text, x: x2 + 6, y, textVerticalAlign: 'middle', fill: COLOURS.text, fontSize: 12 },
              },
            ],
          };
        },
      },
    ],
  });
}

/** What the colours of bars mean; names of variables of the page. */
export const BAR_COLOURS: Readonly<Record<BarColour, string>> = {
  ours: 'cdrhouse',
  peer: 'others',
  floor: 'the floor',
};

/** What is used of the interface of a series of our own. */
interface CustomApi {
  value(dimension: number): number;
  coord(point: readonly number[]): readonly [number, number];
}

type BarColour = 'ours' | 'peer' | 'floor';

export function barColour(who: string): BarColour {
  if (isOurs(who)) return 'ours';
  return who.startsWith('floor') ? 'floor' : 'peer';
}

/** `packed: cdrhouse` */
export function barName(figure: Figure): string {
  return partsOf(figure).join(': ');
}

function partsOf({ case: of, who, calls }: Figure): string[] {
  return [of, who, ...(calls === undefined ? [] : [`${calls.toLocaleString('en')} calls`])];
}

/** Parts of names that all bars of a plot have: they stand above it. */
export function inCommon(figures: readonly Figure[]): string[] {
  const [first, ...others] = figures.map(partsOf);
  return others.length === 0 ? [] : first!.filter((part) => others.every((parts) => parts.includes(part)));
}

/** Medians over the number of stored calls, a line a case. */
export function growthPlot(figures: readonly Figure[], unit: string): string {
  const medians = figures.map(({ values }) => median(values)).filter((value) => value > 0);
  const isLogarithmic = Math.max(...medians) / Math.min(...medians) > LINEAR_FACTOR_MAX;
  const sizes = [...new Set(figures.map(({ calls }) => calls!))].sort((a, b) => a - b);
  const lines = [...groupBy(figures, ({ case: of, who }) => `${of}: ${who}`)];
  return draw(LINES_HEIGHT, {
    grid: { left: 80, right: 30, top: 20 + lines.length * 22, bottom: 50 },
    legend: { silent: true, top: 0, left: 0, orient: 'vertical', textStyle: axisLabel },
    xAxis: {
      type: 'log',
      name: 'stored calls',
      nameLocation: 'middle',
      nameGap: 28,
      nameTextStyle: axisLabel,
      min: sizes[0]! / 1.5,
      max: sizes.at(-1)! * 1.5,
      axisTick: { customValues: sizes },
      axisLabel: {
        ...axisLabel,
        formatter: (value: number) => compactNumber(value),
        customValues: sizes,
      },
      splitLine,
    },
    yAxis: {
      type: isLogarithmic ? 'log' : 'value',
      min: isLogarithmic ? undefined : 0,
      name: unit,
      nameLocation: 'middle',
      nameGap: 50,
      nameTextStyle: axisLabel,
      axisLabel: { ...axisLabel, formatter: (value: number) => compactNumber(value) },
      splitLine,
    },
    series: lines.map(([name, list], index) => ({
      type: 'line',
      clip: false,
      silent: true,
      name,
      symbol: 'circle',
      symbolSize: 8,
      color: LINE_COLOURS[index % LINE_COLOURS.length],
      lineStyle: { type: index < LINE_COLOURS.length ? 'solid' : 'dashed' },
      data: list.map(({ calls, values }) => [calls, median(values)]),
    })),
  });
}

/** 4,200,000 is `4.2M`. */
function compactNumber(value: number): string {
  if (value < COMPACT_FROM) return value.toLocaleString('en', { maximumSignificantDigits: 3 });
  return value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 });
}
