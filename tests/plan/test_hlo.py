"""Collectives read from HLO text: what is in loops, in branches and in pairs of start and done."""

import pytest

from envisions_jax.plan.hlo import Collective, collectives

GPU = """HloModule jit_step

%body (p: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %part = bf16[4,16]{1,0} parameter(0)
  %start = (bf16[4,16]{1,0}, bf16[32,16]{1,0}) all-gather-start(%part), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %done = bf16[32,16]{1,0} all-gather-done(%start)
  %scatter = ((f32[32,16]{1,0}, f32[8]{0}), (f32[4,16]{1,0}, f32[1]{0})) reduce-scatter-start(%a, %b), replica_groups={{0,1,2,3,4,5,6,7}}
}

%condition (p: (s32[], f32[8,16])) -> pred[] {
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[8,16]) -> f32[8,16] {
  %w = (s32[], f32[8,16]{1,0}) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %sent = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%y), source_target_pairs={{0,1},{1,0}}
  ROOT %sum = f32[2]{0} all-reduce(%x), replica_groups=[1,8]<=[8], to_apply=%add
}
"""  # noqa: E501

TPU = """HloModule jit_step

%all-reduce-scatter.1 (p: bf16[64,8]) -> bf16[16,8] {
  %reduced = bf16[64,8]{1,0:T(8,128)(2,1)} all-reduce(%p), replica_groups={{0,1,2,3}}, to_apply=%add
}

%body (p: s32[]) -> s32[] {
  %kernel = f32[8]{0} custom-call(%q), custom_call_target="tpu_custom_call", backend_config={"custom_call_config": {
"name": "kernel"
}}, metadata={op_name="after a line of its own"}
  %f = bf16[16,8]{1,0} fusion(%p), kind=kOutput, calls=%all-reduce-scatter.1
  %g = bf16[1,64,8]{2,1,0:T(8,128)(2,1)S(1)} all-gather(%q), replica_groups={{0,1,2,3}}, dimensions={1}
}

%counted (p: s32[]) -> pred[] {
  %bound = s32[]{:T(128)} constant(5)
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%until (p: s32[]) -> pred[] {
  ROOT %any = pred[] reduce(%active, %false), to_apply=%or
}

ENTRY %main (p: s32[]) -> s32[] {
  %w = s32[] while(%p), condition=%counted, body=%body
  %v = s32[] while(%p), condition=%until, body=%body
}
"""  # noqa: E501


def test_pairs_count_once_and_loops_as_often_as_they_go_round() -> None:
    assert collectives(GPU) == [
        Collective("all-gather", 3, 3 * 32 * 16 * 2),
        Collective("all-reduce", 1, 8),
        Collective("reduce-scatter", 3, 3 * 8 * (4 * 16 + 1) * 4),
        Collective("collective-permute", 1, 8 * 4),
    ]


def test_what_a_tpu_reduces_and_scatters_is_one_of_these() -> None:
    """Five times in a loop that is counted, once in one that ends when the data say so."""
    assert collectives(TPU) == [
        Collective("all-gather", 6, 6 * 64 * 8 * 2),
        Collective("reduce-scatter", 6, 6 * 64 * 8 * 2),
    ]


@pytest.mark.parametrize(
    ("kind", "sent"), [("all-gather", 700), ("all-reduce", 1400), ("collective-permute", 800)]
)
def test_what_each_device_sends(kind: str, sent: int) -> None:
    assert Collective(kind, 1, 800).sent(devices=8) == sent
