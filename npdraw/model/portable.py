"""What a model does without its prior, as functions of tensors: image -> drawing, drawing -> image.

They keep nothing between calls and draw nothing at random, so that other programs can run them:
`npdraw export --onnx` writes each as a file. Inputs and outputs are tuples in the order of the
names; letters are those of docs/model.md, section 1.
"""

import torch
from torch import Tensor, nn

from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, join_steps
from npdraw.model.npdraw import NPDraw


def choice_names(model: NPDraw) -> tuple[str, ...]:
    """Return the names of the tensors of a drawing: whether, where, what; with ink two more."""
    return "whether", *model.brush.sizes


class ImageToDrawing(nn.Module):
    """The posterior q(z | x): the likeliest drawing of an image, and probabilities.

    Each layer is that of the likeliest drawing on the layers before it, as in
    `DrawingModel.encode`.
    """

    def __init__(self, model: NPDraw) -> None:
        super().__init__()
        self.model = model
        choices = choice_names(model)
        self.inputs = ("image",)
        self.outputs = (*choices, *(f"p_{name}" for name in choices))

    def posterior(self, image: Tensor) -> tuple[Factors, Latents]:
        """Return q(z | x) and the likeliest drawings of images [N, C, H, W] in [0, 1]."""
        model = self.model
        seen = model.layout.shrink(image)
        q, layers, _ = model.posterior(seen, lambda q, _, __: q.likeliest())
        return q, join_steps(layers)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the choices, [N, T] each, then the probabilities of whether, [N, T], and of all
        values of the other choices, [N, T, O], [N, T, K], ..., given that the step paints.
        """
        q, z = self.posterior(image)
        return *z.tensors().values(), *self.probabilities(q)

    def probabilities(self, q: Factors) -> list[Tensor]:
        """Return the probabilities of each choice; a part that is not a candidate has 0."""
        what = q.what.squeeze(2).exp()
        if q.candidates is not None:
            parts = self.model.brush.sizes["what"]
            every = what.new_zeros(*what.shape[:2], parts)
            what = every.scatter(2, q.candidates, what)
        colours = [x.exp() for x in (q.ink, q.contrast) if x is not None]
        return [torch.sigmoid(q.whether), q.where.exp(), what, *colours]


class DrawingToImage(nn.Module):
    """Painting and the decoder: the canvas of a drawing, and the image that is expected of it.

    As `DrawingModel.paint` and `DrawingModel.decode`.
    """

    def __init__(self, model: NPDraw) -> None:
        super().__init__()
        self.model = model
        self.inputs = choice_names(model)
        self.outputs = ("canvas", "image")

    def forward(self, *choices: Tensor) -> tuple[Tensor, Tensor]:
        """Return canvases [N, C + 1, h, w] and images [N, C, H, W] of choices [N, T]."""
        z = Latents(**dict(zip(self.inputs, choices, strict=True))).canonical()
        canvas = self.model.paint(z)
        return canvas, self.model.decode(canvas)


Network = ImageToDrawing | DrawingToImage
