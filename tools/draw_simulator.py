"""Draw the simulator's pictures for the docs: identities, units, emotions, other motion, and the 68 landmarks.

Run: python tools/draw_simulator.py docs/images
"""

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from openmer.clip import ALIGNED_PX
from openmer.clips.flow import color_wheel, flow_to_color
from openmer.simulator.camera import exact_flow, rasterize
from openmer.simulator.facial_motion import EMOTIONS, Event, action_weights, total_coefficients
from openmer.simulator.head import Identity, head_model
from openmer.simulator.head_motion import GESTURES, Gesture, HeadMotion, draw_head_motion, with_gestures
from openmer.simulator.other_motion import OTHERS, draw_speech
from openmer.simulator.recording import centred, draw_person, draw_recording, face_centre
from openmer.simulator.render import crop_camera, vertex_normals
from openmer.simulator.settings import RecordingSettings
from openmer.simulator.unit_motion import UNIT_MOTIONS

PEAK_PX, MAGNIFIED = 1.5, 8


def identities(path: Path) -> None:
    """Thirty people, one recording each."""
    tiles = [
        draw_recording((40, k), draw_person((40, k)), "none", RecordingSettings(size=160))[0].image(0)
        for k in range(30)
    ]
    rows = [np.concatenate(tiles[k : k + 10], 1) for k in range(0, 30, 10)]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows, 0), cv2.COLOR_RGB2BGR))


def units(path: Path) -> None:
    """Every action unit's field on the mean face, both sides, beside what FACS says."""
    model = head_model()
    neutral = model.mesh_template - face_centre(model.mean) * (1, 0, 1)
    face = Identity(np.asarray(neutral, np.float32))
    camera = crop_camera(ALIGNED_PX, face.vertices)
    before = rasterize(camera.project(face.vertices), model.mesh_faces, ALIGNED_PX, ALIGNED_PX)
    facing = before.interpolate(vertex_normals(face.vertices), model.mesh_faces)
    shaded = np.where(before.covered, 0.75 - 0.25 * facing[..., 1] + 0.1 * facing[..., 2], 1.0)
    figure = Figure(figsize=(15, 14.5), layout="constrained")
    axes = figure.subplots(4, 6).ravel()
    grid = np.mgrid[3:ALIGNED_PX:5, 3:ALIGNED_PX:5]
    for axis in axes:
        axis.set_axis_off()
    for axis, (unit, motion) in zip(axes, UNIT_MOTIONS.items(), strict=False):
        small = face.posed(0.1 * action_weights(unit, 1, 1))
        after = rasterize(camera.project(small), model.mesh_faces, ALIGNED_PX, ALIGNED_PX)
        flow, _ = exact_flow((before, after), face.vertices, small, model.mesh_faces, camera)
        size = np.hypot(*flow)
        peak = np.percentile(size[before.covered], 99.7)
        axis.imshow(shaded, cmap="gray", vmin=0, vmax=1.2)
        axis.imshow(np.ma.masked_less(size / peak, 0.08), cmap="YlOrRd", alpha=0.55, vmin=0, vmax=1)
        at = flow[:, grid[0], grid[1]] / peak
        at[:, np.hypot(*at) < 0.1] = np.nan
        axis.quiver(grid[1], grid[0], at[0], -at[1], color="#08306b", scale=14, width=0.006)
        words = textwrap.fill(f"AU {unit}. {motion.facs}; full: {10 * peak:.0f} px", 38)
        axis.set_title(words, fontsize=8, loc="left")
    figure.savefig(path, dpi=75)


def others(path: Path) -> None:
    """What is no expression: a neutral moment, the largest one, exact flow between them."""
    person = draw_person((44,))
    plain, _ = draw_recording(
        (44, 1), person, "none", RecordingSettings(size=200, fps=100), distractors=False, noise=False
    )
    drawn: list[tuple[str, tuple[Event, ...], HeadMotion | None]] = []
    for name, (draw, *_) in OTHERS.items():
        drawn.append((name, (draw(np.random.default_rng(7), 0.1),), None))
    drawn.append(("speech", tuple(draw_speech(np.random.default_rng(5), 0.1, 0.5)), None))
    head = centred(draw_head_motion(np.random.default_rng(3), 0.0), person.identity.vertices)
    for kind in ("turn", "nod", "nearer"):
        extent = np.array(GESTURES[kind][0], np.float32) * (-0.6 if kind == "nearer" else 0.6)
        drawn.append((f"head: {kind}", (), with_gestures(head, [Gesture(0.1, 0.4, extent, 0)])))
    figure = Figure(figsize=(12.5, 8.6), layout="constrained")
    axes = figure.subplots(4, 9)
    for axis in axes.ravel():
        axis.set_axis_off()
    for k, (name, events, motion) in enumerate(drawn):
        times = np.array([0.0, 0.5 if motion else _largest(events)])
        poses = tuple(motion.poses(times)) if motion else plain.poses[:1] * 2
        film = replace(plain, events=events, times_s=times, poses=poses, light=np.ones(2, np.float32))
        flow, _ = film.flow(0, 1)
        reach = float(np.percentile(np.hypot(*flow), 99.8))
        row = axes[k // 3, 3 * (k % 3) : 3 * (k % 3) + 3]
        pictures = (film.image(0), film.image(1), flow_to_color(flow, max(reach, 0.3)))
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
        row[0].set_title(f"{name}, {reach * 128 / 200:.1f} px", fontsize=9, loc="left")
    figure.savefig(path, dpi=80)


def _largest(events: tuple[Event, ...]) -> float:
    """The moment at which the events together are largest."""
    times = np.linspace(0, 1.5, 151)
    return float(times[np.abs(total_coefficients(events, times)).sum(1).argmax()])


def emotions(path: Path) -> None:
    """One row per emotion: onset, apex, exact flow between them, the same expression eight times as large."""
    rows = [(emotion, False) for emotion in EMOTIONS] + [("happiness", True), ("surprise", True)]
    figure = Figure(figsize=(9, 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4)
    titles = ("onset", f"apex, {PEAK_PX} px", "exact flow, onset to apex", f"motion {MAGNIFIED} times as large")
    for k, (row, (emotion, sided)) in enumerate(zip(axes, rows, strict=True)):
        person = draw_person((41, k))
        large_pictures = RecordingSettings(size=288, like="casme2")
        same = {"settings": large_pictures, "distractors": False, "noise": False}
        for seed in range(100):
            small, event = draw_recording((41, k, seed), person, emotion, peak_px=PEAK_PX, **same)
            if event is None:
                raise RuntimeError("an emotion gave no event")
            if any(min(pair) < 0.36 * max(pair) for pair in event.units.values()) == sided:
                break
        large, _ = draw_recording((41, k, seed), person, emotion, peak_px=MAGNIFIED * PEAK_PX, **same)
        apex = int(np.abs(small.times_s - event.apex_s).argmin())
        flow, _ = small.flow(0, apex)
        pictures = (small.image(0), small.image(apex), flow_to_color(flow / 2, PEAK_PX), large.image(apex))
        for axis, picture, title in zip(row, pictures, titles, strict=True):
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
            if k == 0:
                axis.set_title(title, fontsize=10)
        coded = " + ".join(f"AU {unit}" for unit in event.coded)
        row[0].set_ylabel(f"{emotion}{', one-sided' if sided else ''}\n{coded}", fontsize=9)
    wheel = axes[0][2].inset_axes((0.8, 0.0, 0.2, 0.2))
    wheel.imshow(color_wheel(64))
    wheel.set_axis_off()
    figure.savefig(path, dpi=75)


def landmark_picture(path: Path) -> None:
    """The 68 points with their numbers on a frontal and a turned face."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    for axis, seed in zip(figure.subplots(1, 2), ((42, 0), (70, 19)), strict=True):
        recording, _ = draw_recording(
            seed, draw_person(seed), "none", RecordingSettings(size=512), distractors=False, noise=False
        )
        axis.imshow(recording.image(0))
        points = recording.landmarks(0)
        axis.plot(*points.T, "o", color="#56b4e9", markersize=3, markeredgecolor="black", markeredgewidth=0.4)
        for k, (x, y) in enumerate(points):
            axis.annotate(str(k), (x, y), xytext=(2, 2), textcoords="offset points", fontsize=5.5, color="white")
        axis.set_xlim(0, 511)
        axis.set_ylim(511, 0)
        axis.set_axis_off()
    figure.savefig(path, dpi=90)


def main(folder: Path) -> None:
    """Draw all of them."""
    identities(folder / "simulated.png")
    units(folder / "action_units.png")
    emotions(folder / "emotions.png")
    others(folder / "other_motion.png")
    landmark_picture(folder / "landmarks.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
