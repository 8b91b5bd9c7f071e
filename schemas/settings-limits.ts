/** Most batches that may be parsed or stored at one time. */
export const BATCHES_IN_FLIGHT_MAX = 64;
