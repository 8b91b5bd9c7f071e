interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** A consumer group as its coordinator describes it. */
export interface GroupDescription {
  /** How many members it has; one that ended counts until its session is over. */
  readonly members: number;
  /** The partitions of all members; undefined while they are being shared out. */
  readonly assigned?: readonly TopicPartition[];
}

/**
 * Why an assignment cannot be what the group would share out today; undefined where it can. The broker gives a static
 * member that returns within its session what it had (KAFKA-12759), though it subscribes to other topics now or a topic
 * has more partitions, and nobody else is told: what is new would be read by no one.
 * @param given what this member was given
 * @param counts number of partitions by topic: of all topics that it subscribes to and that exist
 */
export function staleAssignment(
  given: readonly TopicPartition[],
  counts: ReadonlyMap<string, number>,
  subscribed: readonly string[],
  { members, assigned }: GroupDescription,
): string | undefined {
  if (given.some(({ topic }) => !subscribed.includes(topic))) return 'a topic that it does not subscribe to';
  // Another assignment is about to come.
  if (assigned === undefined) return undefined;
  for (const [topic, count] of counts) {
    const isTopic = (partition: TopicPartition): boolean => partition.topic === topic;
    if (new Set(assigned.filter(isTopic).map(({ partition }) => partition)).size < count)
      return 'partitions that nobody has';
    if (given.filter(isTopic).length < Math.floor(count / members)) return 'less than its share';
  }
  return undefined;
}
