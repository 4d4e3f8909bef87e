"""Losses against slow references, caption by caption."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qasir.config import TripletParams
from training.train.trainable_retriever import contrastive, triplet


def reference(scores: list[list[float]], owners: list[int]) -> float:
    """InfoNCE of both directions as sums over explicit negatives."""
    to_video, to_caption = [], []
    for caption, owner in enumerate(owners):
        row = scores[caption]
        to_video.append(math.log(sum(math.exp(s) for s in row)) - row[owner])
        others = [scores[q][owner] for q in range(len(owners)) if owners[q] != owner]
        total = math.exp(row[owner]) + sum(math.exp(s) for s in others)
        to_caption.append(math.log(total) - row[owner])
    return (sum(to_video) + sum(to_caption)) / (2 * len(owners))


@given(seed=st.integers(0, 10_000), videos=st.integers(2, 5), captions=st.integers(0, 6))
def test_contrastive_is_its_definition(seed: int, videos: int, captions: int) -> None:
    random = torch.Generator().manual_seed(seed)
    extra = torch.randint(0, videos, (captions,), generator=random)
    owners = torch.cat([torch.arange(videos), extra])
    scores = 3 * torch.randn(len(owners), videos, generator=random)
    expected = reference(scores.tolist(), owners.tolist())
    assert math.isclose(contrastive(scores, owners).item(), expected, rel_tol=1e-4, abs_tol=1e-5)


def test_captions_of_one_video_do_not_push_each_other() -> None:
    """Raising what another caption of the same video scores changes nothing for this one."""
    owners = torch.tensor([0, 0, 1])
    scores = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    contrastive(scores, owners).backward()  # type: ignore[no-untyped-call] # torch's own
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0
    assert scores.grad[1, 0] < 0
    assert scores.grad[2, 0] > 0


def hinge(scores: Tensor, owners: Tensor, hardest: bool, limit: int) -> float:
    params = TripletParams(weight=1.0, margin=0.2, hardest=limit, warm_up=0)
    return triplet(scores, owners, params, hardest).item()


def test_triplet_asks_the_hardest_one() -> None:
    scores = torch.tensor([[0.5, 0.4, -0.9], [-0.9, 0.5, -0.9], [-0.9, -0.9, 0.5]])
    owners = torch.arange(3)
    # Caption 0 against video 1, and video 1 against caption 0, are .1 inside the margin.
    assert math.isclose(hinge(scores, owners, hardest=True, limit=1), 0.1 / 3, rel_tol=1e-5)


def test_triplet_draws_from_all_before() -> None:
    scores = torch.tensor([[0.5, 0.4, -0.9], [-0.9, 0.5, -0.9], [-0.9, -0.9, 0.5]])
    torch.manual_seed(0)
    drawn = {round(hinge(scores, torch.arange(3), hardest=False, limit=1), 4) for _ in range(40)}
    assert drawn == {0.0, round(0.05 / 3, 4), round(0.1 / 3, 4)}


def test_a_video_is_never_its_own_negative() -> None:
    scores = torch.tensor([[0.9, -0.9], [0.8, -0.9], [-0.9, 0.9]])
    assert hinge(scores, torch.tensor([0, 0, 1]), hardest=True, limit=20) == 0
