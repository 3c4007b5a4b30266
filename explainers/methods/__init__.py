"""Methods of many passes, one file each: importing a file declares its method."""

from .ablation_cam import ablation_cam
from .eigen_cam import eigen_cam
from .integrated_gradients import integrated_gradients
from .k_lime import k_lime
from .kernel_shap import kernel_shap
from .lime import lime
from .lime_sup import lime_sup
from .occlusion import occlusion
from .recipro_cam import recipro_cam
from .rise import rise
from .score_cam import score_cam
from .sensitivity import sensitivity
from .smooth_grad import smooth_grad
from .sp_lime import sp_lime

__all__ = [
    "ablation_cam",
    "eigen_cam",
    "integrated_gradients",
    "k_lime",
    "kernel_shap",
    "lime",
    "lime_sup",
    "occlusion",
    "recipro_cam",
    "rise",
    "score_cam",
    "sensitivity",
    "smooth_grad",
    "sp_lime",
]
