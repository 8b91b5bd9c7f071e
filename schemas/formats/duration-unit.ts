/**
 * How a duration is written. `s`, `ms`, `us` and `ticks` (of 10 ms) are decimal numbers. `hh:mm:ss` has hours of any
 * number of digits and may have a fraction; `mm:ss` has minutes of any number of digits, or is `h:mm:ss`. `go` is
 * what programs in Go write (CGRateS): `1h2m3.5s`, `5m`, `300ms`.
 */
export const DURATION_UNITS = ['s', 'ms', 'us', 'ticks', 'hh:mm:ss', 'mm:ss', 'go'] as const;
export type DurationUnit = (typeof DURATION_UNITS)[number];
