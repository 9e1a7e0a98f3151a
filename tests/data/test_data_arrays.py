"""The user's own .npz files: what is taken, and that every bad one says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikegrad.data import load_npz
from spikegrad.errors import UserError

X = np.arange(24, dtype=np.float64).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def _save(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


def test_x_and_y(tmp_path):
    data = load_npz(_save(tmp_path, x=X, y=Y))
    assert (data.name, data.classes, data.test, data.sequence) == ("mine", 3, None, False)
    assert data.class_names == ("0", "1", "2")
    assert torch.equal(data.train.x, torch.from_numpy(X).float())
    assert data.train.scaled().max() == 23.0  # floats are left as they are


def test_train_and_test(tmp_path):
    data = load_npz(_save(tmp_path, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2]))
    assert data.test is not None
    assert torch.equal(data.test.x, data.train.x[:2])
    assert load_npz(_save(tmp_path, x_train=X, y_train=Y)).test is None


def test_a_sequence_by_the_file_or_by_the_argument(tmp_path):
    x = X.reshape(6, 2, 2)
    for data in (
        load_npz(_save(tmp_path, x=x, y=Y, sequence=True)),
        load_npz(_save(tmp_path, x=x, y=Y), sequence=True),
        load_npz(_save(tmp_path, x=x, y=Y, sequence=False), sequence=True),
    ):
        assert data.sequence
        assert (data.steps, data.features) == (2, (2,))
    assert not load_npz(_save(tmp_path, x=x, y=Y, sequence=1), sequence=False).sequence


@pytest.mark.parametrize(
    ("x", "dtype", "largest"),
    [
        (np.full((6, 2), 255, np.uint8), torch.uint8, 1.0),
        (np.ones((6, 2), np.uint8), torch.uint8, 1.0),  # spikes
        (np.ones((6, 2), bool), torch.uint8, 1.0),
        (np.full((6, 2), 7, np.int16), torch.float32, 7.0),
        (np.full((6, 2), 0.5, np.float16), torch.float32, 0.5),
        (np.full((6, 2), 3.0, ">f8"), torch.float32, 3.0),
    ],
)
def test_numbers_of_every_kind(tmp_path, x, dtype, largest):
    part = load_npz(_save(tmp_path, x=x, y=Y)).train
    assert part.x.dtype == dtype
    assert part.scaled().max() == largest


def test_scale_by_the_file_or_by_the_argument(tmp_path):
    x = np.full((6, 2), 8, np.uint8)
    assert load_npz(_save(tmp_path, x=x, y=Y, scale=16)).train.scaled().max() == 0.5
    assert load_npz(_save(tmp_path, x=x, y=Y, scale=16), scale=8.0).train.scaled().max() == 1.0


def test_labels_of_every_integer_kind_and_class_names(tmp_path):
    for kind in (np.uint8, np.int16, ">i4", np.uint64):
        data = load_npz(_save(tmp_path, x=X, y=Y.astype(kind), class_names=["a", "b", "c"]))
        assert data.train.y.tolist() == Y.tolist()
        assert data.class_names == ("a", "b", "c")
    assert load_npz(_save(tmp_path, x=X, y=Y % 2 == 0)).classes == 2


def _changed(at, value):
    x = X.copy()
    x[at] = value
    return x


BAD = {
    "nothing in it": ({}, "got no arrays"),
    "other names": ({"images": X, "y": Y}, r"images \[6, 4\], y \[6\]"),
    "both forms": ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "expected arrays"),
    "half a test part": ({"x_train": X, "y_train": Y, "x_test": X}, "expected arrays"),
    "NaN": ({"x": _changed((2, 1), np.nan), "y": Y}, r"nan at \[2, 1\] \(1 in all\)"),
    "infinite": ({"x": _changed((0, 0), np.inf), "y": Y}, "finite"),
    "too large for float32": ({"x": _changed((0, 0), 1e300), "y": Y}, "1e[+]300 at"),
    "strings": ({"x": X.astype(str), "y": Y}, "real numbers"),
    "complex": ({"x": X + 1j, "y": Y}, "real numbers"),
    "objects": ({"x": X.astype(object), "y": Y}, "plain arrays.*x cannot be read"),
    "rank 1": ({"x": X[:, 0], "y": Y}, r"\[N, \*features\].*\[6\]"),
    "no features": ({"x": X[:, :0], "y": Y}, "each size above 0"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, "each size above 0"),
    "a sequence without features": ({"x": X, "y": Y, "sequence": True}, r"\[N, T, 1\]"),
    "labels as one-hot": ({"x": X, "y": np.eye(3)[Y].astype(int)}, "class indices"),
    "labels as floats": ({"x": X, "y": Y.astype(float)}, "integers"),
    "labels from 1": ({"x": X, "y": Y + 1}, "the labels 1, 2, 3"),
    "labels below 0": ({"x": X, "y": Y - 1}, "the labels -1, 0, 1"),
    "labels with a gap": ({"x": X, "y": Y * 2}, "the labels 0, 2, 4"),
    "one class": ({"x": X, "y": Y * 0}, "at least two"),
    "labels beyond int64": ({"x": X, "y": Y.astype(np.uint64) + 2**63}, "expected every label"),
    "counts disagree": ({"x": X, "y": Y[:5]}, "x with 6 and y with 5"),
    "a class in the test part only": (
        {"x_train": X[:2], "y_train": Y[:2], "x_test": X, "y_test": Y},
        "labels 0..1 in y_test",
    ),
    "other features in the test part": (
        {"x_train": X, "y_train": Y, "x_test": X[:, :3], "y_test": Y},
        "same features",
    ),
    "another dtype in the test part": (
        {"x_train": X, "y_train": Y, "x_test": X.astype(np.uint8), "y_test": Y},
        "same features and dtype",
    ),
    "sequence as a word": ({"x": X, "y": Y, "sequence": "yes"}, "one true or false value"),
    "scale of 0": ({"x": X, "y": Y, "scale": 0.0}, "scale > 0"),
    "scale as a list": ({"x": X, "y": Y, "scale": [1.0, 2.0]}, "one number"),
    "too few names": ({"x": X, "y": Y, "class_names": ["a"]}, "3 strings"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_bad_arrays(tmp_path, case):
    arrays, says = BAD[case]
    with pytest.raises(UserError, match=says) as caught:
        load_npz(_save(tmp_path, **arrays))
    assert ", got " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_such_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_npz(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", X)
    empty = tmp_path / "empty.npz"
    empty.write_bytes(b"")
    for path in (tmp_path / "one.npy", empty, tmp_path):
        with pytest.raises(UserError, match=r"\.npz file"):
            load_npz(path)


def test_refuses_a_damaged_file(tmp_path):
    whole = _save(tmp_path, x=X, y=Y).read_bytes()
    path = tmp_path / "bad.npz"
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"\.npz file"):
            load_npz(path)
    middle = whole.index(X.tobytes()) + 3
    path.write_bytes(whole[:middle] + b"?" + whole[middle + 1 :])
    with pytest.raises(UserError, match="x cannot be read"):
        load_npz(path)
