"""Layers: parameters, initial values and repr around the scans of `spikegrad.kernels`."""

from spikegrad.nn import models
from spikegrad.nn.adaptive import ALIF
from spikegrad.nn.attention import SpikingSelfAttention, spikformer_block
from spikegrad.nn.base import Neuron, SpikingNeuron, use_backend
from spikegrad.nn.branch import Branch, Residual
from spikegrad.nn.calibrate import Calibrated, calibrate
from spikegrad.nn.classifier import Classifier
from spikegrad.nn.connection import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from spikegrad.nn.cuba import CUBALIF
from spikegrad.nn.dale import Dale, dale
from spikegrad.nn.delayed import DelayedLinear, anneal_delays
from spikegrad.nn.dropout import Dropout
from spikegrad.nn.everywhere import AdaptiveAvgPool2d, Conv1d, ConvTranspose2d, GroupNorm
from spikegrad.nn.init import fluctuation_driven, initialise, kaiming, psp
from spikegrad.nn.lif import IF, LIF
from spikegrad.nn.loop import Loop
from spikegrad.nn.module import Module
from spikegrad.nn.norm import BatchNorm
from spikegrad.nn.places import Candidates, candidates
from spikegrad.nn.population import Population
from spikegrad.nn.quantity import Decay, Quantity, no_decay
from spikegrad.nn.readout import LI
from spikegrad.nn.recurrent import Recurrent
from spikegrad.nn.rewire import grow, prune, rewire
from spikegrad.nn.sequential import Sequential
from spikegrad.nn.spiking import Spiking
from spikegrad.nn.stateful import Stateful
from spikegrad.nn.step_norm import BNTT, TEBN
from spikegrad.nn.stepped import StepNeuron, neuron
from spikegrad.nn.streaming import Stream, stream
from spikegrad.nn.tape import Tape, record

__all__ = [
    "ALIF",
    "BNTT",
    "CUBALIF",
    "IF",
    "LI",
    "LIF",
    "TEBN",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm",
    "Branch",
    "Calibrated",
    "Candidates",
    "Classifier",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dale",
    "Decay",
    "DelayedLinear",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "Linear",
    "Loop",
    "MaxPool2d",
    "Module",
    "Neuron",
    "Population",
    "Quantity",
    "Recurrent",
    "Residual",
    "Sequential",
    "Spiking",
    "SpikingNeuron",
    "SpikingSelfAttention",
    "Stateful",
    "StepNeuron",
    "Stream",
    "Tape",
    "anneal_delays",
    "calibrate",
    "candidates",
    "dale",
    "fluctuation_driven",
    "grow",
    "initialise",
    "kaiming",
    "models",
    "neuron",
    "no_decay",
    "prune",
    "psp",
    "record",
    "rewire",
    "spikformer_block",
    "stream",
    "use_backend",
]
