"""Plans: seeded, within their limits, and said as they are shown."""

from qasir.config import DemoParams
from training.data.scenes import Film, choose_concepts, plan_film


def plan(demo: DemoParams, video_id: str = "a", seed: int = 3) -> Film:
    return plan_film(video_id, choose_concepts(demo.concepts, seed), demo, seed)


def films(demo: DemoParams) -> list[Film]:
    return [plan(demo, f"film {i}") for i in range(30)]


def test_a_plan_follows_its_seed_and_id(demo: DemoParams) -> None:
    assert plan(demo) == plan(demo)
    assert plan(demo) != plan(demo, seed=4)
    assert plan(demo).scenes != plan(demo, video_id="b").scenes


def test_moments_follow_each_other_and_keep_to_their_length(demo: DemoParams) -> None:
    for film in films(demo):
        assert len(film.scenes) == demo.moments
        first = 0
        for scene in film.scenes:
            assert scene.first_frame == first
            assert 8 <= scene.frames <= 14  # 0.8 to 1.4 s at 10 fps
            first += scene.frames
        assert film.frames == first


def test_no_concept_is_shown_in_two_moments_of_a_film(demo: DemoParams) -> None:
    for film in films(demo):
        shown = [actor.concept for scene in film.scenes for actor in scene.actors]
        assert len(set(shown)) == len(shown)


def test_a_caption_names_what_is_shown(demo: DemoParams) -> None:
    seen = set()
    for film in films(demo):
        for scene in film.scenes:
            assert all(actor.concept.phrase in scene.caption for actor in scene.actors)
            seen.add(len(scene.actors))
    assert seen == {1, 2}


def test_actors_stay_inside_the_picture(demo: DemoParams) -> None:
    for film in films(demo):
        for actor in (actor for scene in film.scenes for actor in scene.actors):
            for x, y in (actor.start, actor.end):
                assert actor.side / 2 <= x <= demo.width - actor.side / 2
                assert actor.side / 2 <= y <= demo.height - actor.side / 2
