//! The short messages between nodes: what is read writes back byte by byte.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_node::notice::Notice;
use beatmesh_node::queue::task::TaskId;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: seeds([Notice::Work.encode(), Notice::Ended(TaskId(uuid::Uuid::from_u128(7))).encode()]),
    |data: &[u8]| {
        if let Some(notice) = Notice::decode(&Bytes::copy_from_slice(data)) {
            assert_eq!(notice.encode(), data);
        }
    }
);
