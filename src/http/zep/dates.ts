/**
 * A date as Postgres reads those that programs write: a day, or a time of it, of the zone that it says or else of UTC. In milliseconds
 * since 1970, with a fraction; undefined when it is none.
 */
export function millisecondsIn(text: string): number | undefined {
  const match = DATE.exec(text.trim());
  if (!match) return undefined;
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "0", zone = "Z"] = match;
  const parts = [Number(year), Number(month) - 1, Number(day)] as const;
  const midnight = Date.UTC(...parts);
  const date = new Date(midnight);
  const isDay = date.getUTCMonth() === parts[1] && date.getUTCDate() === parts[2] && date.getUTCFullYear() === parts[0];
  if (!isDay || Number(hour) > 24 || Number(minute) > 59 || Number(second) > 60) return undefined;
  const seconds = (Number(hour) * 60 + Number(minute)) * 60 + Number(second) - secondsIn(zone);
  return midnight + seconds * 1000 + Number(`0.${fraction}`) * 1000;
}

const DATE =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?$/i;

/** How far a zone is ahead. */
function secondsIn(zone: string): number {
  const [, sign, hours, minutes = "0"] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  return sign === undefined ? 0 : (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60;
}
