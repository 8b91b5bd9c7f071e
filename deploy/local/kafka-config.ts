import { loopback } from './ports.ts';

export interface BrokerConfig {
  port: number;
  controllerPort: number;
  dataPath: string;
}

/** server.properties of one node that is broker and controller; everything internal is kept once and small. */
export function brokerProperties(config: BrokerConfig): string {
  return `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@${loopback}:${config.controllerPort}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://${loopback}:${config.port},CONTROLLER://${loopback}:${config.controllerPort}
advertised.listeners=PLAINTEXT://${loopback}:${config.port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${config.dataPath}
# A topic with a misspelt name must be an error, here as in production.
auto.create.topics.enable=false
num.partitions=1
num.network.threads=2
num.io.threads=4
log.retention.hours=168
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Nobody else will join a local group within the three seconds that a broker waits by default.
group.initial.rebalance.delay.ms=0
# So that a member that was killed does not have to be waited for as long as a broker demands by default (6 s).
group.min.session.timeout.ms=1000
# A broker that was killed may register again only when its last session has run out: after 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250
`;
}

/** Warnings and worse into one file that is turned over at 10 MB. */
export function loggingProperties(logPath: string): string {
  return `status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=${logPath}
appender.file.filePattern=${logPath}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d{ISO8601}] %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
`;
}
