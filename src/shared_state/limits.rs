//! Rate limits that nodes count together.
//!
//! Ordinary rules never wait: what was counted here is added to counters at the server every few milliseconds,
//! and its answer is what all nodes have counted. A request for a strict rule asks the server itself, within
//! a few milliseconds. What holds while the server is away is decided in [`crate::guard::limiter`].

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind, cmd};

use super::link::{Failure, Link, within};
use super::node_id;
use crate::clock;
use crate::config;
use crate::guard::RateLimiter;
use crate::guard::limit::breaker::Breaker;
use crate::guard::limit::{Delta, Known, LimitRule, Seed, StrictAsk, Verdict, moment};

/// How often nodes tell each other.
const EVERY: Duration = Duration::from_millis(50);
/// The server is asked at least so often, to notice that it is away.
const QUIET: Duration = Duration::from_millis(100);
/// How often a node says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// The longest wait for an answer; after it each node counts for itself.
const PATIENCE: Duration = Duration::from_millis(250);
/// Keys told at a time. With more the rest waits for the next time.
const MOST: usize = 4096;
/// Between two attempts to reach the server.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether there is a rule at all.
const IDLE: Duration = Duration::from_secs(1);
/// How long counters outlive the window after theirs, for clocks that differ.
const SPARE: u64 = 1000;

/// A node was here, and how many were within the last seconds, by the clock of the server.
const HERE: &str = "local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 5)
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])";

/// Whether a request is within a limit: keys of this window, the one before, and of what is over its limit;
/// limit, milliseconds of the window that are over, its length, milliseconds for which what was too much is
/// stopped, whether the request counts, and whether it is stopped when it is too much. Windows are counted in
/// slices, as [`crate::guard::limit::window`] does. Gives whether it is, and how many more would be, or how
/// long it takes until one is.
const STRICT: &str = "local left = redis.call('PTTL', KEYS[3])
if left > 0 then return {1, left} end
local limit, elapsed, period = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stop = tonumber(ARGV[4])
local at = elapsed * 8 / period
local function read(key)
  local counts = redis.call('HMGET', key, '0', '1', '2', '3', '4', '5', '6', '7')
  local sum = 0
  for i = 1, 8 do
    counts[i] = tonumber(counts[i] or '0')
    sum = sum + counts[i]
  end
  return counts, sum
end
local function left_at(counts, at)
  local sum = 0
  for i = 1, 8 do
    sum = sum + counts[i] * math.max(0, math.min(1, i - at))
  end
  return sum
end
local function until_gone(counts, at, much)
  for i = math.floor(at) + 1, 8 do
    local part = math.min(1, i - at)
    if part > 0 then
      local here = counts[i] * part
      if here >= much then
        if here > 0 and much > 0 then at = at + part * much / here end
        return at
      end
      much = much - here
      at = i
    end
  end
  return 8
end
local current, used = read(KEYS[1])
local previous = read(KEYS[2])
local room = limit - used - left_at(previous, at)
local within = room >= 1
if ARGV[5] == '1' and (within or ARGV[6] == '0') then
  redis.call('HINCRBY', KEYS[1], tostring(math.min(7, math.floor(at))), 1)
  redis.call('PEXPIRE', KEYS[1], 2 * period + 1000)
  room = room - 1
end
if within then return {0, math.floor(room)} end
if stop > 0 then
  redis.call('SET', KEYS[3], '1', 'PX', stop)
  return {1, stop}
end
local slices
if used + 1 <= limit then
  slices = until_gone(previous, at, 1 - room) - at
else
  slices = 8 - at + until_gone(current, 0, used - limit + 1)
end
return {1, math.max(1, math.ceil(slices * period / 8))}";

/// The counters of all nodes, and this node's way to them.
pub struct SharedLimits {
    link: Link,
    prefix: String,
    node: Box<str>,
    strict_timeout: Duration,
    patience: Duration,
    limiter: Arc<RateLimiter>,
    /// For strict rules, while the server is there: a connection, and the name of the script.
    strict: Mutex<Option<(MultiplexedConnection, String)>>,
    breaker: Mutex<Breaker>,
    asked: AtomicU64,
    unanswered: AtomicU64,
}

/// How nodes count together, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLimitsStatistics {
    /// Whether they do.
    pub connected: bool,
    /// How many there are.
    pub nodes: u32,
    /// Requests of strict rules.
    pub asked: u64,
    /// Those of them that the server did not answer in time, or was not asked about.
    pub unanswered: u64,
}

impl SharedLimits {
    /// Counts what `limiter` does together with others, as `config` says.
    ///
    /// # Errors
    /// When that is not possible, in a sentence.
    pub fn new(config: &config::SharedState, limiter: Arc<RateLimiter>) -> Result<Self, String> {
        Ok(Self {
            link: Link::new(config)?,
            prefix: format!("{}:limits", config.prefix),
            node: node_id().into(),
            strict_timeout: config.strict_timeout,
            patience: config.timeout.min(PATIENCE),
            limiter,
            strict: Mutex::default(),
            breaker: Mutex::default(),
            asked: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        })
    }

    /// What there is to know about it.
    pub fn statistics(&self) -> SharedLimitsStatistics {
        SharedLimitsStatistics {
            connected: self.limiter.is_connected(),
            nodes: self.limiter.nodes(),
            asked: self.asked.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }

    /// Keeps counters together, as long as they are `wanted`; never ends.
    pub async fn run(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Infallible {
        let mut told = false;
        loop {
            if !wanted() {
                tokio::time::sleep(IDLE).await;
                continue;
            }
            let ended = self.session(wanted, &mut told).await;
            self.limiter.connect(false);
            *lock(&self.strict) = None;
            if let Err(failure) = ended
                && !told
            {
                told = true;
                let server = self.link.address();
                tracing::error!(server, %failure, "rate limits are counted by each node for itself");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a request is within the limit of `rule` on all nodes together; `None` when that cannot be
    /// found out in time.
    pub async fn ask(&self, rule: &LimitRule, ask: StrictAsk) -> Option<Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let verdict = self.ask_server(rule, ask).await;
        if verdict.is_none() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    async fn ask_server(&self, rule: &LimitRule, ask: StrictAsk) -> Option<Verdict> {
        let (mut connection, script) = lock(&self.strict).clone()?;
        let now = moment(clock::now());
        if !lock(&self.breaker).may_ask(now) {
            return None;
        }
        let mut command = self.strict_command("EVALSHA", &script, rule, ask, now);
        let asking = async {
            let answer = command.query_async::<(u8, u64)>(&mut connection).await;
            if answer
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
            {
                // Somebody has had the server forget its scripts. This one it keeps.
                command = self.strict_command("EVAL", STRICT, rule, ask, now);
                return command.query_async(&mut connection).await;
            }
            answer
        };
        let answer = within(self.strict_timeout, asking).await;
        lock(&self.breaker).record(answer.is_ok(), now);
        if matches!(answer, Err(Failure::Broken(_))) {
            // There will be another connection.
            *lock(&self.strict) = None;
        }
        let (kind, much) = answer.ok()?;
        Some(if kind == 0 {
            Verdict::Within {
                remaining: u32::try_from(much).unwrap_or(u32::MAX),
                reset: rule.period,
            }
        } else {
            Verdict::Over {
                retry_after: Duration::from_millis(much),
            }
        })
    }

    fn strict_command(
        &self,
        how: &str,
        script: &str,
        rule: &LimitRule,
        ask: StrictAsk,
        now: u64,
    ) -> Cmd {
        let period = millis(rule.period);
        let window = now / 1_000_000 / period;
        let mut command = cmd(how);
        command.arg(script).arg(3);
        for window in [window, window.saturating_sub(1)] {
            command.arg(format!("{}:strict", self.name(ask.key, window)));
        }
        command.arg(format!("{}:{:016x}:over", self.prefix, ask.key));
        command.arg(rule.limit).arg(now / 1_000_000 % period);
        command.arg(period).arg(millis(rule.mitigation_timeout));
        command
            .arg(u8::from(ask.counts))
            .arg(u8::from(rule.stops()));
        command
    }

    /// The name of the counter of a key and a window.
    fn name(&self, key: u64, window: u64) -> String {
        format!("{}:{key:016x}:{window}", self.prefix)
    }

    async fn session(
        &self,
        wanted: &(dyn Fn() -> bool + Sync),
        told: &mut bool,
    ) -> Result<(), Failure> {
        let mut connection = self.link.connect().await?;
        self.agree_on_seed(&mut connection).await?;
        self.beat(&mut connection).await?;
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(STRICT);
        let script: String = self.query(&load, &mut connection).await?;
        // Strict requests do not wait behind what is told.
        let mut strict = self.link.connect().await?;
        *lock(&self.strict) = Some((strict.clone(), script));
        self.limiter.connect(true);
        if std::mem::take(told) {
            tracing::info!("rate limits are counted by all nodes together again");
        }
        let (mut contact, mut beaten) = (clock::instant(), clock::instant());
        while wanted() {
            tokio::time::sleep(EVERY).await;
            let deltas = self.limiter.take_untold(MOST);
            let now = clock::instant();
            if due(beaten, BEAT, now) {
                self.beat(&mut connection).await?;
                // The server may close what is silent for long.
                let _: String = self.query(&cmd("PING"), &mut strict).await?;
                (contact, beaten) = (now, now);
            }
            if lock(&self.strict).is_none() {
                return Err(Failure::Broken("a connection was closed".to_owned()));
            }
            if !deltas.is_empty() {
                self.tell(&deltas, &mut connection).await?;
                contact = now;
            } else if due(contact, QUIET, now) {
                let _: String = self.query(&cmd("PING"), &mut connection).await?;
                contact = now;
            }
        }
        Ok(())
    }

    /// Adds what was counted here, and takes over what all have counted.
    async fn tell(
        &self,
        deltas: &[Delta],
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Failure> {
        let mut pipe = redis::pipe();
        for delta in deltas {
            let name = self.name(delta.key, delta.window.into());
            let kept = delta.period / 1_000_000 * 2 + SPARE;
            pipe.cmd("INCRBY").arg(&name).arg(delta.amount);
            pipe.cmd("PEXPIRE").arg(&name).arg(kept).ignore();
            if delta.interval > 0 {
                let name = format!("{}:{:016x}:due", self.prefix, delta.key);
                let mut set = cmd("SET");
                set.arg(&name).arg(delta.due).arg("PX").arg(kept);
                if delta.first {
                    pipe.cmd("GET").arg(&name);
                    // Others know better.
                    set.arg("NX");
                }
                pipe.add_command(set).ignore();
            } else if delta.first {
                let before = delta.window.saturating_sub(1);
                pipe.cmd("GET").arg(self.name(delta.key, before.into()));
            }
        }
        let asking = pipe.query_async::<Vec<Option<u64>>>(connection);
        let answers = within(self.patience, asking).await?;
        let mut answers = answers.into_iter();
        let now = moment(clock::now());
        let counted = |sum: Option<u64>| u32::try_from(sum.unwrap_or_default()).unwrap_or(u32::MAX);
        for delta in deltas {
            let mut known = Known {
                sum: counted(answers.next().ok_or(Failure::Garbage)?),
                ..Known::default()
            };
            if delta.first {
                let more = answers.next().ok_or(Failure::Garbage)?;
                match delta.interval {
                    0 => known.before = Some(counted(more)),
                    _ => known.due = more,
                }
            }
            self.limiter.know(delta, &known, now);
        }
        Ok(())
    }

    /// Says that this node is there, and takes over how many are.
    async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
        let mut command = cmd("EVAL");
        command.arg(HERE).arg(1);
        command
            .arg(format!("{}:nodes", self.prefix))
            .arg(&*self.node);
        let nodes: u32 = self.query(&command, connection).await?;
        self.limiter.set_nodes(nodes);
        Ok(())
    }

    /// All nodes hash keys alike: with the seed of the one that came first.
    async fn agree_on_seed(&self, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
        let name = format!("{}:seed", self.prefix);
        let Seed(first, second) = self.limiter.seed();
        let own = format!("{first:016x}{second:016x}");
        let mut set = cmd("SET");
        set.arg(&name).arg(&own).arg("NX");
        let _: Option<String> = self.query(&set, connection).await?;
        let mut get = cmd("GET");
        let agreed: String = self.query(get.arg(&name), connection).await?;
        if agreed != own {
            self.limiter
                .reseed(parse_seed(&agreed).ok_or(Failure::Garbage)?);
        }
        Ok(())
    }

    async fn query<T: FromRedisValue>(
        &self,
        command: &Cmd,
        connection: &mut MultiplexedConnection,
    ) -> Result<T, Failure> {
        within(self.patience, command.query_async(connection)).await
    }
}

fn parse_seed(text: &str) -> Option<Seed> {
    let (first, second) = text.split_at_checked(16)?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    Some(Seed(parse(first)?, parse(second)?))
}

fn due(last: Instant, every: Duration, now: Instant) -> bool {
    now.saturating_duration_since(last) >= every
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
