//! Memory that is promised: what the servers of a host may still take, as each of them sees it.

use flyball_agent::redis::{Instance, RedisConfig};
use flyball_agent::sense::HostPaths;
use flyball_agent::steer::SteerConfig;
use flyball_agent::steer::actuator::{Actuator as _, Step};
use flyball_agent::steer::redis::RedisActuator;

use crate::harness::Server;
use crate::{LIMIT, MB, mb, server};

fn actuator(instance: &Instance, all: &[Instance]) -> RedisActuator {
    RedisActuator::new(instance.clone(), &SteerConfig::default(), &HostPaths::default()).beside(all)
}

#[test]
fn what_others_here_may_take_counts_from_before_it_is_set() {
    let (first, second) = (server(64), server(64));
    // The way to this address has another one at its near end, as to a server of another host.
    let both = ["--bind", "127.0.0.1", "127.0.0.2", "--maxmemory", &mb(64)];
    let third = Server::start(&both);
    let url = format!("redis://127.0.0.2:{}", third.port);
    let elsewhere = third.instance_of(RedisConfig { url, ..third.config("elsewhere") });
    let all = [first.instance("first"), second.instance("second"), elsewhere];
    let [mut own, mut other, mut remote] = all.each_ref().map(|one| actuator(one, &all));

    assert_eq!(own.read().unwrap().facts.promised_bytes, 0, "nobody has looked yet");
    other.read().unwrap();
    assert!(remote.read().unwrap().facts.memory.is_none(), "it is elsewhere");
    let before = own.read().unwrap().facts.promised_bytes;
    assert!((60 * MB..64 * MB).contains(&before), "that of the second: {before}");

    let step = Step { parameter: LIMIT.to_owned(), value: mb(96), settles: false };
    other.apply_step(&step).unwrap();
    assert_eq!(own.read().unwrap().facts.promised_bytes, before + 32 * MB);
}
