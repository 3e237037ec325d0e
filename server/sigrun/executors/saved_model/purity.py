"""Which operations depend on nothing but their inputs, so that they may be folded.

In: what a signature reaches in a graph. Out: the variables that must not become constants.
TensorFlow folds every operation with constant inputs that is not marked as stateful, and some
that reach out of the graph are not: a file would be read once, and its text kept for ever. So
a variable becomes a constant only if all that comes of it is listed here as pure. What is
missing from the list costs a little speed, never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sigrun.executors.saved_model.graph_analysis import Reached, functions_of, node_of
from sigrun.executors.saved_model.tensorflow_imports import op_def_registry

_PURE_NAMES = """
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Concat ConcatOffset ConcatV2
    ConjugateTranspose Const DepthToSpace Dequantize Diag DiagPart DynamicPartition DynamicStitch
    EditDistance EmptyTensorList EnsureShape ExpandDims ExtractImagePatches ExtractVolumePatches
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    Fingerprint Gather GatherNd GatherV2 Identity IdentityN InvertPermutation ListDiff LowerBound
    MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2
    MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad
    PadV2 ParallelDynamicStitch PlaceholderWithDefault QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2
    QuantizedConcat QuantizedReshape Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd
    ScatterNdNonAliasingAdd Shape ShapeN Size Slice SpaceToBatch SpaceToBatchND SpaceToDepth Split
    SplitV Squeeze StridedSlice TensorArrayCloseV2 TensorArrayConcatV2 TensorArrayGatherV2
    TensorArrayReadV2 TensorArrayScatterV2 TensorArraySizeV2 TensorArraySplitV2 TensorArrayWriteV2
    TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
    TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize
    TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem
    TensorListSplit TensorListStack TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin
    Asinh Atan Atan2 Atanh BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0
    BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0
    BesselY1 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil Cholesky
    ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Dawsn
    DenseBincount Digamma Div DivNoNan Eig Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint
    Expm1 FFT FFT2D FFT3D FFTND Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual
    HistogramFixedWidth IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Igamma Igammac
    Imag Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma LinSpace Log Log1p
    LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr Lu MatMul MatrixDeterminant
    MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot
    MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter
    NotEqual Polygamma PopulationCount Pow Prod Qr QuantizeDownAndShrinkRange RFFT RFFT2D RFFT3D
    RFFTND RaggedBincount Range Real RealDiv Reciprocal RequantizationRange
    RequantizationRangePerChannel Requantize RequantizePerChannel RightShift Rint Round Rsqrt
    SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2
    SegmentSum SegmentSumV2 Select SelectV2 SelfAdjointEig SelfAdjointEigV2 Sigmoid Sign Sin Sinh
    SobolSample SparseBincount SparseMatMul SparseSegmentMean SparseSegmentMeanWithNumSegments
    SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
    SparseSegmentSumWithNumSegments Spence Sqrt Square SquaredDifference Sub Sum Svd Tan Tanh
    TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    ApproxTopK AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM
    BlockLSTMV2 CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2 Conv Conv2D Conv3D
    DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative Dilation2D Elu FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 GRUBlockCell InTopK InTopKV2 IsotonicRegression L2Loss LRN
    LSTMBlockCell LeakyRelu LogSoftmax MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NthElement
    Relu Relu6 Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
    SparseSoftmaxCrossEntropyWithLogits TopK TopKV2 UniformDequantize UniformQuantize
    UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
    UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid
    UniformRequantize
    DenseCountSparseOutput DenseToDenseSetOperation DenseToSparseSetOperation
    DeserializeManySparse DeserializeSparse RaggedCountSparseOutput RaggedCross
    RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorToSparse RaggedTensorToTensor
    SerializeManySparse SerializeSparse SetSize SparseAdd SparseConcat SparseCountSparseOutput
    SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv
    SparseDenseCwiseMul SparseFillEmptyRows SparseReduceMax SparseReduceMaxSparse SparseReduceSum
    SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSoftmax
    SparseSparseMaximum SparseSparseMinimum SparseSplit SparseTensorDenseAdd
    SparseTensorDenseMatMul SparseToDense SparseToSparseSetOperation
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation AsString AudioSpectrogram
    CombinedNonMaxSuppression CropAndResize DecodeAndCropJpeg DecodeBase64 DecodeBmp DecodeCSV
    DecodeCompressed DecodeGif DecodeImage DecodeJSONExample DecodeJpeg DecodeJxl DecodePaddedRaw
    DecodePng DecodeRaw DecodeWav DecodeWebP DrawBoundingBoxes DrawBoundingBoxesV2 EncodeBase64
    EncodeJpeg EncodeJpegVariableQuality EncodePng EncodeWav ExtractGlimpse ExtractGlimpseV2
    ExtractJpegShape GenerateBoundingBoxProposals HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 Mfcc NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
    NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps ParseExample
    ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample
    ParseSingleSequenceExample ParseTensor RGBToHSV ReduceJoin RegexFullMatch RegexReplace
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
    SerializeTensor StatelessSampleDistortedBoundingBox StaticRegexFullMatch StaticRegexReplace
    StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringSplitV2
    StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber
    StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript
    UnicodeTranscode UnsortedSegmentJoin
    RandomIndexShuffle StatelessMultinomial StatelessParameterizedTruncatedNormal
    StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform
    StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal
    StatelessTruncatedNormalV2
    StopGradient PreventGradient Placeholder PlaceholderV2 NoOp ControlTrigger
    Switch Merge Enter Exit NextIteration LoopCond
"""
_PURE = frozenset(_PURE_NAMES.split())
_CALLS = frozenset(
    {"PartitionedCall", "StatelessIf", "StatelessCase", "StatelessWhile", "For", "SymbolicGradient"}
)
_REACH_OUT = frozenset(
    {"ReadFile", "MatchingFiles", "ImmutableConst", "PyFuncStateless"}
    | {"DecodeProtoV2", "EncodeProto"}  # their descriptors may be in a file
)


def reaches_out(nodes: Iterable[Any]) -> bool:
    """Return whether TensorFlow would fold one of `nodes` that looks at files or runs Python."""
    return any(node.op in _REACH_OUT for node in nodes)


def variables_before_impure(reached: Reached) -> set[str]:
    """Return the variables on whose values an operation hangs that is not known as pure."""
    impure_functions = _impure_functions(reached)
    ahead = {node.name for node in reached.nodes.values() if _is_impure(node, impure_functions)}
    seen: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in seen and name in reached.nodes:
            seen.add(name)
            ahead.update(map(node_of, reached.nodes[name].input))
    return seen & reached.variables


def _impure_functions(reached: Reached) -> set[str]:
    """Return the functions in which an impure operation stands, or that call such a one."""
    impure: set[str] = set()
    while more := {
        name
        for name, function in reached.functions.items()
        if name not in impure and any(_is_impure(node, impure) for node in function.node_def)
    }:
        impure |= more
    return impure


def _is_impure(node: Any, impure_functions: set[str]) -> bool:
    if any(function.name in impure_functions for function in functions_of(node)):
        return True
    if node.op in _PURE or node.op in _CALLS:
        return False
    definition = op_def_registry.get(node.op)
    return definition is None or not definition.is_stateful  # those are never folded
